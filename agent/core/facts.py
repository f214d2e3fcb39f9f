"""What is known about the host, as one frozen value.

Each field has one writer and starts UNKNOWN. Times called `..._at` are seconds on the event loop's
monotonic clock, so that a jump of the wall clock changes no verdict.
"""

import enum
from collections.abc import Mapping
from typing import Final, TypeAlias, TypeVar

from agent.core.late import dataclass, field
from agent.core.reason import Fault, Reason
from agent.core.replacement import Replacement
from agent.core.slots import Slot
from agent.core.svid import Svid as Svid


class Unknown(enum.Enum):
    UNKNOWN = "unknown"


UNKNOWN: Final = Unknown.UNKNOWN
T = TypeVar("T")
Maybe: TypeAlias = T | Unknown


class PhaseKind(enum.Enum):
    MEMBER = "member"
    DRAINED = "drained"
    LEFT = "left"
    SHUTTING_DOWN = "shutting-down"


@dataclass(frozen=True)
class Phase:
    """What an operator wants of the host. `since`: when this process learned of it."""

    kind: PhaseKind
    since: float = 0.0


# identity -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class IdentityFact:
    """The SVID chosen for this host (None: there is none) and the trouble with its source, if any."""

    svid: Svid | None = None
    expires_at: float = 0.0  # measured at receipt, counted on the monotonic clock
    received_at: float = 0.0
    rotates_at: float = 0.0  # when its issuer is due to replace it: SPIRE does at half of its life
    updates: int = 0  # SVIDs received by this process: a rotation moves it
    bundle: tuple[bytes, ...] = field(default=(), repr=False)  # of its trust domain, DER
    fault: Fault | None = None


# trust anchors ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class AnchorsFact:
    """The mesh's trust anchors by their digests (`core.anchors`). `expires_at`: when the one ends that this host's
    SVID leads to."""

    in_force: str = ""  # what the proxy is started with from now on; "": there are none that can be read
    proposed: str = ""  # what root may accept; "": nothing else was found
    expires_at: float | None = None
    # When a proxy that runs with others should be restarted for those in force: hosts are spread over a window.
    restart_at: float = 0.0
    untrusted: str = ""  # fingerprint of the SVID that those in force do not cover
    fault: Fault | None = None


# proxy --------------------------------------------------------------------------------------------


class ProxyState(enum.Enum):
    STOPPED = "stopped"
    STARTING = "starting"  # alive, never ready so far
    READY = "ready"  # alive, live, ready, certified, its own listeners accept
    NOT_READY = "not-ready"  # alive, and something is known to be wrong
    UNREADABLE = "unreadable"  # alive, and its state could not be read
    STOPPING = "stopping"  # told to end


@dataclass(frozen=True)
class Process:
    """Names one process for ever: a pid alone is reused. `start_ticks`: clock ticks since boot."""

    pid: int
    start_ticks: int
    boot_id: str
    executable: str = ""  # "" where it cannot be read


@dataclass(frozen=True)
class Counters:
    """What the proxy has counted of its policy client since its start. `failures`: requests that got no answer;
    `found`, `missed`: look-ups of its name."""

    answers: int = 0
    refusals: int = 0
    failures: int = 0
    found: int = 0
    missed: int = 0


@dataclass(frozen=True)
class Control:
    """The control plane as this process of the proxy has met it (`core.control_plane`). `lost`: it had answered,
    and does not any more."""

    answered: bool
    lost: bool = False
    unresolved: bool = False
    # Not compared: a count that moves is no news by itself.
    counters: Counters = field(default_factory=Counters, compare=False)


@dataclass(frozen=True)
class ControlPlaneFact:
    """What the agent found when it looked names up and dialled, as the proxy does; None: nothing amiss."""

    policy: Fault | None = None
    destination: Fault | None = None


@dataclass(frozen=True)
class ProxyFact:
    state: ProxyState
    process: Process | None = None
    adopted: bool = False
    certificate_expires_at: float | None = None
    in_flight: int | None = None  # inbound connections that carry a request or a stream
    counted_at: float | None = None  # when, on the loop's clock; None: not while the host drains
    restarts: int = 0
    fault: Fault | None = None
    launching: bool = False  # none runs so far, and one may any moment
    control: Control | None = None  # None: its metrics were not read so far
    everywhere: bool = False  # it listens at every address, so no proxy of another slot can
    read_at: float | None = field(default=None, compare=False)  # when its reading began, on the loop's clock


@dataclass(frozen=True)
class StartedWith:
    """What a running proxy was started with. `differing`: variables that the next one would have otherwise,
    without the trust anchors; `anchors`: the digest of those. `refused`: why it is not restarted for others."""

    process: Process | None
    differing: tuple[str, ...] = ()
    anchors: str = ""
    refused: Fault | None = None


# redirect -----------------------------------------------------------------------------------------


class Level(enum.Enum):
    """How far the redirect of one direction is on. OFF: no table at all; RELEASED: connection
    tracking only; BLOCK: new connections are reset; ON: new connections go to the proxy."""

    OFF = "off"
    RELEASED = "released"
    BLOCK = "block"
    ON = "on"
    PARTIAL = "partial"  # seen only: the live rules are none of the above


@dataclass(frozen=True)
class RedirectFact:
    """What the kernel holds. UNKNOWN levels: it could not be read."""

    inbound: Maybe[Level] = UNKNOWN
    outbound: Maybe[Level] = UNKNOWN
    fault: Fault | None = None
    edited: Fault | None = None  # the configuration is not the one in force
    suspended: Fault | None = None  # what holds may stay, and ON is not set again until an operator acts
    firewall: Fault | None = None  # what the host's own firewall does with it; None: it lets peers in
    slot: Slot = Slot.MAIN  # that it names


# addresses ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class AddressesFact:
    """`absent`: addresses of the workload that no interface of this host has. UNKNOWN: not read so far."""

    absent: Maybe[tuple[str, ...]] = UNKNOWN
    fault: Fault | None = None


# probes -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ProbeFact:
    """One probe's verdict. Before the first verdict it is UNKNOWN."""

    name: str
    passing: Maybe[bool] = UNKNOWN
    detail: str = ""


@dataclass(frozen=True)
class ProbesFact:
    probes: tuple[ProbeFact, ...] = ()


# the cluster --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Condition:
    """One entry of status.conditions. Times: RFC 3339, or "" where absent."""

    type: str
    status: str  # True | False | Unknown
    reason: str = ""
    message: str = ""
    last_transition_time: str = ""
    last_probe_time: str = ""


@dataclass(frozen=True)
class Workload:
    """The ExternalWorkload as last read."""

    uid: str
    resource_version: str
    identity: str
    server_name: str
    addresses: tuple[str, ...] = ()
    ports: tuple[int, ...] = ()
    conditions: tuple[Condition, ...] = ()
    opaque: tuple[tuple[int, int], ...] = ()  # ranges of ports, as its annotation says: first and last
    retiring: bool = False  # an operator has asked this host to leave the mesh for good

    @property
    def ready(self) -> str:
        """What the mesh reads: True if any Ready entry is True, "" without one (docs/linkerd.md §6.1)."""
        statuses = [c.status for c in self.conditions if c.type == "Ready"]
        return "True" if "True" in statuses else (statuses[0] if statuses else "")


@dataclass(frozen=True)
class WorkloadFact:
    """`seen` is None until it was read once, and again after it was found deleted."""

    seen: Workload | None = None
    unready_since: float | None = None  # when this process first saw it not Ready; None while Ready
    writes: int = 0  # status patches that this process made
    fell_at: tuple[float, ...] = ()  # when this process took Ready away for a fault, the last ones
    edited: Fault | None = None  # somebody else writes our conditions
    fault: Fault | None = None


@dataclass(frozen=True)
class SlicesFact:
    """Whether the mesh still sends requests here: an EndpointSlice lists this ExternalWorkload as ready. Looked
    for only while the host goes; UNKNOWN at all other times, and where it could not be read.

    `unlisted_since`: when this process first saw that none does; None while one does, or while unknown.
    """

    listed: Maybe[bool] = UNKNOWN
    unlisted_since: float | None = None
    fault: Fault | None = None


@dataclass(frozen=True)
class LeaseFact:
    """`boot_id`: what stood in the Lease when this process first read it ("" if nothing did)."""

    boot_id: Maybe[str] = UNKNOWN
    renewed_at: float | None = None
    fault: Fault | None = None


@dataclass(frozen=True)
class ReadyOnceFact:
    """Whether this host has been Ready since it was configured, by root's record; and why that is not recorded."""

    recorded: bool
    fault: Fault | None = None


@dataclass(frozen=True)
class AgentFact:
    """`ready_at`: when every fact but the probes' had a first value."""

    ready_at: float


@dataclass(frozen=True)
class Facts:
    """What is known of the host. Each field has one writer, and is UNKNOWN until that has written it."""

    identity: Maybe[IdentityFact] = UNKNOWN
    proxy: Maybe[ProxyFact] = UNKNOWN
    redirect: Maybe[RedirectFact] = UNKNOWN
    probes: Maybe[ProbesFact] = UNKNOWN
    workload: Maybe[WorkloadFact] = UNKNOWN
    lease: Maybe[LeaseFact] = UNKNOWN
    agent: Maybe[AgentFact] = UNKNOWN
    slices: Maybe[SlicesFact] = UNKNOWN
    anchors: Maybe[AnchorsFact] = UNKNOWN
    ready_once: Maybe[ReadyOnceFact] = UNKNOWN
    control_plane: Maybe[ControlPlaneFact] = UNKNOWN
    replacement: Maybe[Replacement | None] = UNKNOWN  # None: there was none
    started_with: Maybe[StartedWith] = UNKNOWN
    configuration: Maybe[Fault | None] = UNKNOWN  # why an edited file was refused
    folders: Maybe[Fault | None] = UNKNOWN  # what is wrong with those that fairlead writes in
    addresses: Maybe[AddressesFact] = UNKNOWN
    metrics: Maybe[Fault | None] = UNKNOWN  # why they are not served where the configuration says
    standby: Maybe[ProxyFact] = UNKNOWN  # of the second slot; never known where a host has one
    prepared: Maybe[str] = UNKNOWN  # why no plan of a restart holds, after the privileged helper was asked for one

    @property
    def ready_at(self) -> float | None:
        """When the agent reported READY=1; None before."""
        return None if self.agent is UNKNOWN else self.agent.ready_at

    @property
    def active(self) -> Slot:
        """The slot that the redirect names; main's until it is known."""
        return Slot.MAIN if self.redirect is UNKNOWN else self.redirect.slot

    @property
    def serving(self) -> "Maybe[ProxyFact]":
        """Of the proxy that new connections reach."""
        return self.proxy if self.active is Slot.MAIN else self.standby

    def of(self, slot: Slot) -> "Maybe[ProxyFact]":
        return self.proxy if slot is Slot.MAIN else self.standby

    @property
    def change(self) -> Replacement | None:
        """The replacement of the proxy that is known of, under way or over."""
        return None if self.replacement is UNKNOWN else self.replacement

    @property
    def replacing(self) -> bool:
        """A replacement is known to be under way."""
        return self.change is not None and not self.change.over

    def all_known_but_probes(self) -> bool:
        cells: Mapping[str, object] = vars(self)
        # Slices are read only while the host goes; a failure policy waits for the record, and nothing else does.
        later = {"standby", "probes", "slices", "ready_once", "control_plane", "agent", "started_with", "metrics"}
        later |= {"prepared"}
        return not any(value is UNKNOWN for name, value in cells.items() if name not in later)


__all__ = [
    "UNKNOWN",
    "AddressesFact",
    "AgentFact",
    "AnchorsFact",
    "Condition",
    "Control",
    "ControlPlaneFact",
    "Counters",
    "Facts",
    "Fault",
    "IdentityFact",
    "LeaseFact",
    "Level",
    "Maybe",
    "Phase",
    "PhaseKind",
    "ProbeFact",
    "ProbesFact",
    "Process",
    "ProxyFact",
    "ProxyState",
    "ReadyOnceFact",
    "Reason",
    "RedirectFact",
    "SlicesFact",
    "StartedWith",
    "Svid",
    "Unknown",
    "Workload",
    "WorkloadFact",
]
