"""What is allowed, and seldom meant."""

from agent.config.shape import Config, Problem


def warnings(found: Config) -> tuple[Problem, ...]:
    noted = []
    if found.proxy.default_inbound_policy == "all-authenticated":
        cause = (
            '"all-authenticated" refuses peers with SPIFFE identities of their own, and the proxy\'s admin port'
        )
        remedy = "a Server and an AuthorizationPolicy for this workload say it better; else all-unauthenticated"
        noted.append(Problem("proxy.default_inbound_policy", cause, remedy))
    return tuple(noted)
