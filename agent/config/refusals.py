"""The connections that a configuration refuses, and until when, for people."""

from collections.abc import Iterator

from agent.config.shape import Config
from agent.core import failure
from agent.core.failure import Failure


def refusals(config: Config) -> Iterator[str]:
    """One sentence for each direction that is redirected."""
    redirect = config.redirect
    guide = redirect.mode == "linkerd-guide"
    if redirect.mode == "off":
        return
    if guide or redirect.inbound == "all" or (redirect.inbound == "declared" and config.workload.ports):
        every = guide or redirect.inbound == "all"
        yield failure.described(
            Failure(redirect.inbound_failure), failure.to_ports(() if every else config.workload.ports)
        )
    selected = {"networks": redirect.outbound_networks, "uids": redirect.outbound_uids, "off": ()}
    if guide or selected.get(redirect.outbound, True):
        yield failure.described(Failure(redirect.outbound_failure), "from this host into the mesh")
