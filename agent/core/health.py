"""The decision's constants, and the health of one aspect of the host."""

import enum
from typing import TypeAlias

from agent.core.failure import Failure
from agent.core.late import dataclass
from agent.core.reason import Fault


@dataclass(frozen=True)
class Spec:
    """Values of the configuration and the boot; constant for a process. Times in seconds."""

    identity: str
    server_name: str
    addresses: tuple[str, ...]
    ports: tuple[int, ...]
    boot_id: str
    redirect: bool = True
    outbound: bool = True  # any outbound network is configured
    inbound_failure: Failure = Failure.CLOSED
    outbound_failure: Failure = Failure.OPEN
    probe_window: float = 0.0  # the longest that a first probe verdict can take
    settle: float = 5.0
    drain_timeout: float = 60.0
    # Ready waits for the policy controller's first answer: before it the proxy lets in whom a policy may forbid.
    policy_awaited: bool = True
    # Peers cannot verify this host's identity (a service account's), so it is never Ready for them.
    outbound_only: bool = False
    # Peers dial addresses that are translated on the way, so this host need not have them.
    address_translated: bool = False
    opaque_ports: tuple[int, ...] = ()  # those of `ports` that are opaque by the configuration
    slots: bool = False  # the proxy has two
    standby: bool = False  # and the second always runs
    workload: str = ""  # NAMESPACE/NAME of the ExternalWorkload


class Sure(enum.Enum):
    GOOD = "good"
    UNSURE = "unsure"


# What one aspect of the host is worth: known good, not known, or a known fault.
Standing: TypeAlias = Sure | Fault
