"""The connections that a configuration refuses, and until when, for people."""

from collections.abc import Iterator

from agent.config.shape import Config
from agent.core import failure
from agent.core.failure import Failure
from agent.core.redirect.spec import goes_out, outbound_of


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
    outbound = outbound_of(redirect.mode, redirect.outbound)
    if goes_out(outbound, redirect.outbound_networks, redirect.outbound_uids):
        yield failure.described(Failure(redirect.outbound_failure), "from this host into the mesh")
