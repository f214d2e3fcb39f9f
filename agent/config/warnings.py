"""Warnings about settings that are valid but rarely intended."""

from agent.config import monitoring
from agent.config.shape import Config, Problem


def warnings(config: Config) -> tuple[Problem, ...]:
    noted = []
    if config.proxy.default_inbound_policy == "all-authenticated":
        cause = '"all-authenticated" refuses peers with SPIFFE identities, and access to the proxy\'s admin port'
        remedy = "use a Server and an AuthorizationPolicy for this workload, or all-unauthenticated"
        noted.append(Problem("proxy.default_inbound_policy", cause, remedy))
    redirect = config.redirect
    if config.host.address_translated and redirect.mode != "off" and redirect.inbound != "off":
        cause = "the redirect selects packets for host.addresses, and translated packets have another destination"
        remedy = (
            "peers dial port 4143 then; close the application's ports to other clients in this host's firewall"
        )
        noted.append(Problem("host.address_translated", cause, remedy))
    if config.metrics.plain and config.metrics.listen and not monitoring.on_loopback(config.metrics.listen):
        cause = f"every client that reaches {config.metrics.listen} reads the metrics in plain text"
        remedy = "declare the port, and let Prometheus come through the mesh: see docs/monitoring.md"
        noted.append(Problem("metrics.plain", cause, remedy))
    return tuple(noted)
