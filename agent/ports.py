"""What the loops need from outside, as protocols. Adapters provide them, the sandbox's verified fakes
and the tests' memory fakes do too; one contract suite per port runs on all of them.

Expected trouble is raised as `Trouble`, and nothing else is caught by a loop.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from agent.core.facts import Condition, ControlPlaneFact, Level, Maybe, PhaseKind, Process, Svid, Workload
from agent.core.goals import RedirectGoal
from agent.core.probe import Attempt, ProbeSpec
from agent.core.proxy import Reading
from agent.core.reasons import Fault, Reason
from agent.core.replacement import Replacement
from agent.core.token import Claims


class Trouble(Exception):
    """Expected trouble: becomes a fact with a reason. `retry_after`: seconds, where the other side said so.
    `remedy`: as `Fault.remedy`."""

    def __init__(
        self, reason: Reason, detail: str = "", retry_after: float | None = None, remedy: str = ""
    ) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail, self.retry_after, self.remedy = reason, detail, retry_after, remedy

    @property
    def fault(self) -> Fault:
        return Fault(self.reason, self.detail, self.remedy)


class WorkloadApi(Protocol):
    """The SPIFFE Workload API, as this process's own user sees it."""

    def watch(self) -> AsyncGenerator[Sequence[Svid], None]:
        """Yield all X.509-SVIDs now and at each change, for ever, over one stream.

        Raises Trouble (WORKLOAD_API_*) when the stream cannot be had or ends; the caller calls again.
        Closing the iterator ends the stream and leaves nothing behind.
        """
        ...


class IdentityTokens(Protocol):
    """The token for Linkerd's identity controller, where the proxy's user reads it."""

    async def held(self) -> Claims:
        """What that one says of itself. Raises Trouble (IDENTITY_TOKEN_*, CLOCK_SKEWED, IDENTITY_EXPIRED)."""
        ...

    async def renew(self) -> None:
        """Where another one should be there by now, get and put it there. Raises Trouble (IDENTITY_TOKEN_*,
        CLOCK_SKEWED, IDENTITY_EXPIRED, API_*); what is held stays then."""
        ...


Certificates: TypeAlias = tuple[bytes, ...]  # DER, each once, sorted


class TrustAnchors(Protocol):
    """The anchors that the proxy is started with, and those that the mesh has elsewhere."""

    async def in_force(self) -> Certificates:
        """Raises Trouble (TRUST_ANCHORS_UNUSABLE)."""
        ...

    async def offered(self, bundle: Certificates) -> Certificates | None:
        """What the configured source holds at this moment; None: it has nothing to say. `bundle`: the Workload
        API's. Raises Trouble (API_*, TRUST_ANCHORS_MISSING, TRUST_ANCHORS_UNUSABLE)."""
        ...

    async def keep(self, found: Certificates) -> None:
        """Keep these where root may accept them. Raises Trouble (TRUST_ANCHORS_UNWRITABLE)."""
        ...

    def covered_until(self, found: Certificates, chain: Certificates) -> float | None:
        """When the last of the anchors ends that `chain` (leaf first) leads to, in seconds since the epoch; None:
        it leads to none of them. Without a chain, when the last of all ends."""
        ...


@dataclass(frozen=True)
class Lease:
    """coordination.k8s.io/v1 Lease as read."""

    holder: str = ""
    renew_time: str = ""  # RFC 3339 with microseconds
    duration: int = 0  # seconds
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Event:
    """events.k8s.io/v1 Event about the ExternalWorkload. `time`: RFC 3339 with microseconds."""

    name: str
    uid: str  # the ExternalWorkload's
    time: str
    action: str
    reason: str
    note: str
    warning: bool


class EventApi(Protocol):
    """Raises Trouble (API_*, EVENT_GONE), which matters to nobody but the loop of Events."""

    async def post_event(self, event: Event) -> None: ...

    async def repeat_event(self, name: str, count: int, last: str) -> None:
        """The same again: `count` times by now, last at `last`. EVENT_GONE: it has expired (after an hour)."""
        ...


class StatusApi(Protocol):
    """The host's own ExternalWorkload and Lease at the API server. Every method raises Trouble (API_*,
    WORKLOAD_MISSING, WORKLOAD_KIND_ABSENT, STATUS_SUBRESOURCE_ABSENT, LEASE_MISSING) and is bounded in time."""

    async def read(self) -> Workload: ...

    def watch(self, resource_version: str) -> AsyncIterator[Workload | None]:
        """Yield the ExternalWorkload at each change after `resource_version`; None when it was deleted.

        Ends quietly when the server ends the watch or has forgotten that version (410): read again.
        """
        ...

    async def patch_conditions(self, workload: Workload, conditions: Sequence[Condition]) -> Workload:
        """Merge-patch the whole conditions array of `/status`, guarded by `workload`'s uid and version. Where
        there is no `/status` (Linkerd 2.15), that of the object itself."""
        ...

    async def read_lease(self) -> Lease: ...

    async def renew_lease(self, lease: Lease) -> Lease:
        """Merge-patch holder, renewTime, duration and the given annotations. Never creates the Lease."""
        ...


class SliceApi(Protocol):
    """What the mesh was last told to do with requests for this host."""

    async def listed(self) -> bool:
        """Some EndpointSlice of Linkerd's lists this ExternalWorkload as ready. Raises Trouble (API_*)."""
        ...


class ProxyRuntime(Protocol):
    """Owns the process of linkerd2-proxy; it survives the agent."""

    async def adopt(self) -> Process | None:
        """The process that was there before this agent, if it is still that very process. Raises Trouble."""
        ...

    async def prove(self, version: str) -> None:
        """Return where nothing is known that would keep the next start from working (`version`: with that one
        current; "" as it is); else raise Trouble with the first such fault. What runs is not touched."""
        ...

    async def start(self) -> Process:
        """Start it after the gate (a usable SVID for the proxy's own user). Raises Trouble."""
        ...

    async def appear(self) -> Process:
        """Return when a process is there that this agent did not start: systemd restarts its unit by itself."""
        ...

    async def abandon(self) -> None:
        """No start that still waits for something is wanted any more. Raises Trouble."""
        ...

    async def wait(self, process: Process) -> Fault:
        """Return when it is gone, with the reason: PROXY_STOPPED for exit 0, else what exit code or
        signal say (unknown for a child that was adopted: its parent is gone)."""
        ...

    async def terminate(self, process: Process) -> None:
        """SIGTERM, and none is started after it. Raises Trouble."""
        ...

    async def kill(self, process: Process) -> None:
        """Raises Trouble."""
        ...

    async def carried(self, process: Process) -> Maybe[int]:
        """How many of its connections lead on (`core.proxy.carried`), as the kernel says: after SIGTERM its admin
        port is closed. UNKNOWN: it cannot be read."""
        ...

    async def inspect(self, process: Process) -> Reading:
        """Read admin port and listeners once, within 2 s. A part that cannot be read is UNKNOWN."""
        ...


@dataclass(frozen=True)
class LiveRedirect:
    """`edited`: keys of the configuration that differ from the approved one, which is the one in force.
    `suspended`: why ON is not set again until an operator acts, whatever holds at this moment."""

    inbound: Level
    outbound: Level
    edited: str = field(default="", compare=False)
    suspended: str = field(default="", compare=False)


class Redirector(Protocol):
    """The kernel's rules, through the privileged helper. Raises Trouble (REDIRECT_*)."""

    async def check(self) -> LiveRedirect:
        """Read the live rules back; change nothing."""
        ...

    async def apply(self, inbound: RedirectGoal, outbound: RedirectGoal) -> LiveRedirect:
        """Bring both directions to a level (not HOLD) in one transaction; OFF for both deletes the table,
        having passed through RELEASED. Returns what was read back afterwards."""
        ...

    async def firewall(self) -> Fault | None:
        """What the host's own firewall does with the redirect in force; None: it lets peers in."""
        ...

    async def drifted(self) -> None:
        """Return when somebody may have changed the rules since the last call; the first call returns at once.
        Changes to others' rules, which the host's own firewall is made of, are told of within seconds.

        Raises Trouble where that cannot be known; the caller looks by the clock then, and asks again later.
        """
        ...


class Interfaces(Protocol):
    """The addresses of this host's interfaces. Raises Trouble (ADDRESSES_UNREADABLE)."""

    async def absent(self, addresses: Sequence[str]) -> tuple[str, ...]:
        """Those of `addresses` at which this host accepts no connection, because it does not have them."""
        ...

    async def changed(self) -> None:
        """Return when an address may have come or gone since the last call; the first call returns at once.
        Where it raises, the caller looks by the clock."""
        ...


class PhaseStore(Protocol):
    """The host's phase, remembered across restarts and reboots; written through the privileged helper."""

    async def read(self) -> PhaseKind:
        """Raises Trouble (PHASE_UNREADABLE). A missing record is MEMBER."""
        ...

    async def write(self, phase: PhaseKind) -> None: ...


class ControlPlane(Protocol):
    """The controllers that the proxy asks, as this host finds them."""

    async def look(self, *, dial: bool) -> ControlPlaneFact:
        """Look their names up; with `dial`, connect too and see what they prove. Takes ten seconds at most."""
        ...


class ReadyRecord(Protocol):
    """Whether this host has been Ready since it was configured; written by the privileged helper."""

    async def read(self) -> bool:
        """Raises Trouble. A missing record, or one of another member of the mesh, is False."""
        ...

    async def write(self) -> bool:
        """It is Ready now. False: root's record stays without it, because the host has left. Raises Trouble."""
        ...


class ReplacementStore(Protocol):
    """What is remembered of a replacement of the proxy, and the swap of its binaries."""

    def recall(self, now: float) -> Replacement | None:
        """What was remembered last; None: nothing that can be read. `now`: on the clock of `since`."""
        ...

    def remember(self, change: Replacement) -> None:
        """It is on the disk when this returns. Raises Trouble."""
        ...

    async def use(self, version: str) -> None:
        """Make it the version of the next start, by the privileged helper; the same again changes nothing.
        Raises Trouble."""
        ...


class Prober(Protocol):
    async def attempt(self, spec: ProbeSpec) -> Attempt:
        """Try once, within spec.timeout. Never raises for what the application does."""
        ...


class Notifier(Protocol):
    def notify(self, *lines: str) -> None:
        """Tell the service manager (sd_notify); silent where there is none."""
        ...
