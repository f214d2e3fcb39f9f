"""The registry of what `fairlead doctor` asks on a host, in order of dependence."""

from typing import Final

from agent.core.doctor import identity
from agent.core.doctor.check import Check, unless

CONFIGURATION: Final = "configuration"

HOST: Final[tuple[Check, ...]] = (
    Check(CONFIGURATION, "the configuration is root's, and has no problem", unless("no problem")),
    Check(
        "workload-api",
        "the SPIFFE Workload API's socket is there, and both users can reach it",
        identity.socket_reached,
        (CONFIGURATION,),
    ),
    Check("clock", "the clock agrees with the API server's and with the SVIDs", identity.clock, (CONFIGURATION,)),
    Check(
        "agent-identity",
        "the agent's user gets the configured SVID",
        identity.svid,
        ("workload-api", "clock"),
    ),
    Check(
        "proxy-identity",
        "the proxy's user gets the configured SVID, by an entry of its own",
        identity.svid,
        ("workload-api", "clock"),
    ),
    Check("trust-anchors", "the trust anchors can be read and last", identity.anchors, (CONFIGURATION, "clock")),
    Check(
        "trust",
        "the trust anchors cover the proxy's SVID",
        identity.trusted,
        ("proxy-identity", "trust-anchors"),
    ),
)
