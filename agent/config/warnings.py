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
    redirect = found.redirect
    if found.host.address_translated and redirect.mode != "off" and redirect.inbound != "off":
        cause = "the redirect selects what arrives for host.addresses, and what is translated arrives for another"
        remedy = "peers dial port 4143 then; close the application's own ports to others by this host's firewall"
        noted.append(Problem("host.address_translated", cause, remedy))
    return tuple(noted)
