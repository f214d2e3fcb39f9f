"""Checks between the keys of [redirect] and other keys."""

from ipaddress import ip_address
from urllib.parse import urlsplit

from agent.config.shape import Config, Problem


def problems(config: Config) -> list[Problem]:
    redirect = config.redirect
    if redirect.mode == "off":
        return []
    noted = []
    guide = redirect.mode == "linkerd-guide"
    if not guide and redirect.inbound == "declared" and not config.workload.ports:
        remedy = 'declare the application\'s ports, or set redirect.inbound or redirect.mode = "off"'
        noted.append(Problem("workload.ports", "declares nothing to redirect", remedy))
    if guide or redirect.outbound == "all":
        noted += _everything(config)
    if not guide and redirect.outbound == "uids" and not redirect.outbound_uids:
        remedy = "name the users whose connections go through the proxy"
        noted.append(Problem("redirect.outbound_uids", 'is empty, but redirect.outbound is "uids"', remedy))
    return noted


def _everything(config: Config) -> list[Problem]:
    noted = []
    if not config.redirect.force:
        cause = "redirecting everything outbound includes package updates, SPIRE and the host's management"
        remedy = "list the cluster's networks instead, or set redirect.force = true"
        noted.append(Problem("redirect.outbound", cause, remedy))
    server = config.api.server
    name = _name(server) if server else "in the kubeconfig"
    port = urlsplit(server).port or 443
    if name and not any(not server or endpoint.port in (0, port) for endpoint in config.redirect.exempt):
        cause = f"everything outbound would include the API server, known only by the name {name}"
        remedy = "write api.server with an address, or list its ADDRESS:PORT here"
        noted.append(Problem("redirect.exempt", cause, remedy))
    return noted


def _name(url: str) -> str:
    """The host's name in it; "" if it contains an address."""
    host = urlsplit(url).hostname or ""
    try:
        ip_address(host)
    except ValueError:
        return host
    return ""
