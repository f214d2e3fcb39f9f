"""The protocols that the loops use. The adapters, the sandbox's verified fakes and the tests' memory fakes
implement them; one contract suite per port runs on all implementations.

Expected trouble is raised as `Trouble`. The loops catch no other exception.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from typing import Protocol

from agent.core.anchors import Certificates as Certificates
from agent.core.facts import Condition, ControlPlaneFact, Maybe, PhaseKind, Process, Svid, Workload
from agent.core.goals import RedirectGoal
from agent.core.late import dataclass, field
from agent.core.live_redirect import LiveRedirect as LiveRedirect
from agent.core.probe import Attempt, ProbeSpec
from agent.core.proxy import Reading
from agent.core.reasons import Fault, Reason
from agent.core.replacement import Replacement
from agent.core.slots import Slot
from agent.core.token import Claims


class Trouble(Exception):
    """Expected trouble: becomes a fact with a reason. `retry_after`: seconds, if the server sent it.
    `remedy`: as `Fault.remedy`."""

    def __init__(
        self, reason: Reason, detail: str = "", retry_after: float | None = None, remedy: str = ""
    ) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail, self.retry_after, self.remedy = reason, detail, retry_after, remedy

    @property
    def fault(self) -> Fault:
        return Fault(self.reason, self.detail, self.remedy)


class Unanswered(Trouble):
    """The privileged helper could not be asked, or has not answered: it may have acted. Nothing was refused, so
    the same request is made again."""


class WorkloadApi(Protocol):
    """The SPIFFE Workload API, as this process's own user sees it."""

    def watch(self) -> AsyncGenerator[Sequence[Svid], None]:
        """Yield all X.509-SVIDs now and at each change, without end, over one stream.

        Raises Trouble (WORKLOAD_API_*) when the stream cannot be opened or ends; the caller calls again.
        Closing the iterator ends the stream and releases its resources.
        """
        ...


class IdentityTokens(Protocol):
    """The token for Linkerd's identity controller, where the proxy's user reads it."""

    async def held(self) -> Claims:
        """The claims of that token. Raises Trouble (IDENTITY_TOKEN_*, CLOCK_SKEWED, IDENTITY_EXPIRED)."""
        ...

    async def renew(self) -> None:
        """Renew the token if it is due. Raises Trouble (IDENTITY_TOKEN_*, CLOCK_SKEWED, IDENTITY_EXPIRED,
        API_*); then the current token stays."""
        ...


class TrustAnchors(Protocol):
    """The anchors that the proxy starts with, and those of the configured source."""

    async def in_force(self) -> Certificates:
        """Raises Trouble (TRUST_ANCHORS_UNUSABLE)."""
        ...

    async def offered(self, bundle: Certificates) -> Certificates | None:
        """The current content of the configured source; None: it has none. `bundle`: that of the Workload API.
        Raises Trouble (API_*, TRUST_ANCHORS_MISSING, TRUST_ANCHORS_UNUSABLE)."""
        ...

    async def keep(self, found: Certificates) -> None:
        """Store these as a proposal that root can accept or, by its configuration, puts in force at once. Raises
        Trouble (TRUST_ANCHORS_UNWRITABLE, HELPER_REFUSED)."""
        ...

    def covered_until(self, found: Certificates, chain: Certificates) -> float | None:
        """When the last anchor that verifies `chain` (leaf first) expires, in seconds since the epoch; None: no
        anchor verifies it. Without a chain, when the last of all expires."""
        ...


@dataclass(frozen=True)
class Lease:
    """coordination.k8s.io/v1 Lease as read."""

    holder: str = ""
    renew_time: str = ""  # RFC 3339 with microseconds
    duration: int = 0  # seconds
    annotations: Mapping[str, str] = field(default_factory=dict)
    version: str = field(default="", compare=False)  # resourceVersion


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
    """Raises Trouble (API_*, EVENT_GONE), which affects only the loop of Events."""

    async def post_event(self, event: Event) -> None: ...

    async def repeat_event(self, name: str, count: int, last: str) -> None:
        """The same Event again: `count` times so far, last at `last`. EVENT_GONE: it has expired (in an hour)."""
        ...


class StatusApi(Protocol):
    """The host's own ExternalWorkload and Lease at the API server. Every method raises Trouble (API_*,
    WORKLOAD_MISSING, WORKLOAD_KIND_ABSENT, STATUS_SUBRESOURCE_ABSENT, LEASE_MISSING) and is bounded in time."""

    async def read(self) -> Workload: ...

    def watch(self, resource_version: str) -> AsyncIterator[Workload | None]:
        """Yield the ExternalWorkload at each change after `resource_version`; None when it was deleted. "": as it
        is now, if it is there, and then at each change.

        Ends without an error when the server ends the watch or no longer has that version (410): read again.
        """
        ...

    async def patch_conditions(self, workload: Workload, conditions: Sequence[Condition]) -> Workload:
        """Merge-patch the whole conditions array of `/status`, guarded by `workload`'s uid and version. Without
        `/status` (Linkerd 2.15), that of the object."""
        ...

    async def read_lease(self) -> Lease: ...

    async def renew_lease(self, lease: Lease) -> Lease:
        """Merge-patch holder, renewTime, duration and the given annotations. Never creates the Lease."""
        ...


class SliceApi(Protocol):
    """The EndpointSlices that tell peers whether to send requests to this host."""

    async def listed(self) -> bool:
        """Some EndpointSlice of Linkerd's lists this ExternalWorkload as ready. Raises Trouble (API_*)."""
        ...


class ProxyRuntime(Protocol):
    """Owns the process of linkerd2-proxy; it survives the agent."""

    async def adopt(self) -> Process | None:
        """The process that was started before this agent, if it is still the same. Raises Trouble."""
        ...

    async def prove(self, version: str) -> None:
        """Return if no fault is known that would make the next start fail (`version`: with that version current;
        "": unchanged); else raise Trouble with the first such fault. The running proxy is not affected."""
        ...

    async def start(self) -> Process:
        """Start it after the gate (a usable SVID for the proxy's user). Raises Trouble."""
        ...

    async def appear(self) -> Process:
        """Return when there is a process that this agent did not start: systemd restarts its unit."""
        ...

    async def abandon(self) -> None:
        """Cancel a start that is still waiting. Raises Trouble."""
        ...

    async def wait(self, process: Process) -> Fault:
        """Return when it has ended, with the reason: PROXY_STOPPED for exit 0, else by exit code or signal
        (unknown for an adopted child: its parent has ended)."""
        ...

    async def terminate(self, process: Process) -> None:
        """Send SIGTERM; no other proxy is started after it. Raises Trouble."""
        ...

    async def kill(self, process: Process) -> None:
        """Raises Trouble."""
        ...

    async def carried(self, process: Process) -> Maybe[int]:
        """The number of connections that it forwards (`core.proxy.carried`), from the kernel: after SIGTERM its
        admin port is closed. UNKNOWN: it cannot be read."""
        ...

    async def inspect(self, process: Process) -> Reading:
        """Read admin port and listeners once, within 2 s. A part that cannot be read is UNKNOWN."""
        ...


class Redirector(Protocol):
    """The kernel's rules, through the privileged helper. Raises Trouble (REDIRECT_*)."""

    async def check(self) -> LiveRedirect:
        """Read the live rules back; change nothing."""
        ...

    async def apply(
        self, inbound: RedirectGoal, outbound: RedirectGoal, judged: float | None = None
    ) -> LiveRedirect:
        """Set both directions to a level (not HOLD) in one transaction. OFF for both deletes the table, after
        RELEASED. Returns what was read back afterwards. `judged`: when the proxy was read as not ready, on the
        loop's clock; while a process that was proved ready later runs, nothing is set."""
        ...

    async def turn(self, slot: Slot) -> LiveRedirect:
        """The rules name this slot, at the same levels; only while its proxy is proved ready."""
        ...

    async def firewall(self) -> Fault | None:
        """What the host's firewall does with the redirect in force; None: it accepts peers."""
        ...

    async def drifted(self) -> None:
        """Return when the rules may have changed since the last call; the first call returns at once. Changes to
        rules of other programs, such as the host's firewall, are reported within seconds.

        Raises Trouble if changes cannot be observed; then the caller polls, and calls again later.
        """
        ...


class Interfaces(Protocol):
    """The addresses of this host's interfaces. Raises Trouble (ADDRESSES_UNREADABLE, LOOPBACK_DOWN)."""

    async def absent(self, addresses: Sequence[str]) -> tuple[str, ...]:
        """Those of `addresses` at which this host accepts no connection, because it does not have them."""
        ...

    async def changed(self) -> None:
        """Return when an address may have been added or removed since the last call; the first call returns at
        once. If it raises, the caller polls."""
        ...


class PhaseStore(Protocol):
    """The host's phase, remembered across restarts and reboots; written through the privileged helper."""

    async def read(self) -> PhaseKind:
        """Raises Trouble (PHASE_UNREADABLE). A missing record is MEMBER."""
        ...

    async def write(self, phase: PhaseKind) -> None: ...


class ControlPlane(Protocol):
    """The controllers that the proxy asks, as seen from this host."""

    async def look(self, *, dial: bool) -> ControlPlaneFact:
        """Look their names up; with `dial`, also connect and verify them. Takes ten seconds at most."""
        ...


class ReadyRecord(Protocol):
    """Whether this host has been Ready since it was configured; written by the privileged helper."""

    async def read(self) -> bool:
        """Raises Trouble. A missing record, or one of another member of the mesh, is False."""
        ...

    async def write(self) -> bool:
        """Record that it is Ready. False: not recorded, because the host has left. Raises Trouble."""
        ...


class ReplacementStore(Protocol):
    """The record of a replacement of the proxy, and the change of its binary."""

    def recall(self, now: float) -> Replacement | None:
        """The last record; None: none that can be read. `now`: on the clock of `since`."""
        ...

    def remember(self, change: Replacement) -> None:
        """It is on the disk when this returns. Raises Trouble."""
        ...

    async def cover(self, version: str) -> None:
        """The same of the standby's next start; "": the current one. Raises Trouble, and Unanswered."""
        ...

    async def use(self, version: str) -> None:
        """Set the version of the next start, by the privileged helper; a repeated call changes nothing.
        Raises Trouble, and Unanswered."""
        ...


class Prober(Protocol):
    async def attempt(self, spec: ProbeSpec) -> Attempt:
        """Try once, within spec.timeout. A failure of the application raises nothing."""
        ...


class Notifier(Protocol):
    def notify(self, *lines: str) -> str:
        """Notify the service manager (sd_notify), without waiting; without one, do nothing. Returns why it did not
        receive these lines; "": it did."""
        ...
