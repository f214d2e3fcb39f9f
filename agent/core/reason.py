"""The names of all reasons, and what is said of each. What is said stands in `core.reasons`.

The code stands alike in conditions, logs, the status socket and the documents. It is CamelCase, so it
satisfies the pattern of the ExternalWorkload CRD (word characters, 1 to 1024).
"""

import enum

from agent.core import text
from agent.core.late import dataclass


class Severity(enum.Enum):
    OK = "ok"
    WAIT = "wait"  # ends without an action
    WARN = "warn"  # the host keeps serving; an operator should look
    FAULT = "fault"  # the host cannot serve, or cannot say that it does


class Reason(enum.StrEnum):
    HOST_READY = "HostReady"
    HOST_UNREACHABLE = "HostUnreachable"
    ZONE_GUARDED = "ZoneGuarded"
    FLEET_SILENT = "FleetSilent"
    HOST_UNIQUE = "HostUnique"
    ENDPOINT_SHARED = "EndpointShared"
    SPIFFE_ID_SHARED = "SpiffeIdShared"
    ADDRESS_IN_CLUSTER = "AddressInCluster"
    LEASE_SHARED = "LeaseShared"
    FLAPPING = "Flapping"
    NOT_DRAINING = "NotDraining"
    STARTING = "Starting"
    DRAINING = "Draining"
    RETIRED = "Retired"
    LEFT = "Left"
    SHUTTING_DOWN = "ShuttingDown"
    PHASE_UNREADABLE = "PhaseUnreadable"
    PHASE_UNWRITABLE = "PhaseUnwritable"
    HELPER_REFUSED = "HelperRefused"
    METRICS_UNSERVED = "MetricsUnserved"
    CONFIGURATION_REFUSED = "ConfigurationRefused"
    CONFIGURATION_UNUSABLE = "ConfigurationUnusable"
    STATE_UNWRITABLE = "StateUnwritable"
    SOCKETS_GONE = "SocketsGone"

    IDENTITY_VALID = "IdentityValid"
    WORKLOAD_API_ABSENT = "WorkloadApiAbsent"
    WORKLOAD_API_REFUSED = "WorkloadApiRefused"
    WORKLOAD_API_DENIED = "WorkloadApiDenied"
    WORKLOAD_API_SILENT = "WorkloadApiSilent"
    WORKLOAD_API_FAILED = "WorkloadApiFailed"
    WORKLOAD_API_INVALID = "WorkloadApiInvalid"
    IDENTITY_UNEXPECTED = "IdentityUnexpected"
    IDENTITY_TOO_LONG = "IdentityTooLong"
    IDENTITY_MALFORMED = "IdentityMalformed"
    IDENTITY_UNTRUSTED = "IdentityUntrusted"
    IDENTITY_OVERDUE = "IdentityOverdue"
    IDENTITY_KEY_UNSUITABLE = "IdentityKeyUnsuitable"
    IDENTITY_EXPIRED = "IdentityExpired"
    IDENTITY_OUTBOUND_ONLY = "IdentityOutboundOnly"
    # No secrets: the linter takes what is called a token for one.
    IDENTITY_TOKEN_UNREADABLE = "IdentityTokenUnreadable"  # noqa: S105
    IDENTITY_TOKEN_UNSUITABLE = "IdentityTokenUnsuitable"  # noqa: S105
    IDENTITY_TOKEN_UNWRITABLE = "IdentityTokenUnwritable"  # noqa: S105
    CLOCK_SKEWED = "ClockSkewed"

    CONTROL_PLANE_REACHED = "ControlPlaneReached"
    CONTROL_PLANE_PENDING = "ControlPlanePending"
    CONTROL_PLANE_UNRESOLVED = "ControlPlaneUnresolved"
    CONTROL_PLANE_UNREACHABLE = "ControlPlaneUnreachable"
    CONTROL_PLANE_UNTRUSTED = "ControlPlaneUntrusted"
    CONTROL_PLANE_LOST = "ControlPlaneLost"
    DESTINATION_UNREACHABLE = "DestinationUnreachable"

    PROXY_READY = "ProxyReady"
    PROXY_STOPPED = "ProxyStopped"
    PROXY_STARTING = "ProxyStarting"
    PROXY_STOPPING = "ProxyStopping"
    PROXY_UNREADABLE = "ProxyUnreadable"
    PROXY_UNCERTIFIED = "ProxyUncertified"
    PROXY_CERTIFICATE_EXPIRED = "ProxyCertificateExpired"
    PROXY_LISTENER_ABSENT = "ProxyListenerAbsent"
    PROXY_LISTENER_FOREIGN = "ProxyListenerForeign"
    PROXY_IDENTITY_MISSING = "ProxyIdentityMissing"
    PROXY_BINARY_UNUSABLE = "ProxyBinaryUnusable"
    PROXY_NOT_PERMITTED = "ProxyNotPermitted"
    PROXY_CONFIGURATION_REFUSED = "ProxyConfigurationRefused"
    PROXY_FAILED_TO_START = "ProxyFailedToStart"
    PROXY_PORT_TAKEN = "ProxyPortTaken"
    PROXY_CRASHED = "ProxyCrashed"
    RESTART_PENDING = "RestartPending"
    STANDBY_NOT_READY = "StandbyNotReady"
    PROXY_REPLACING = "ProxyReplacing"
    PROXY_WENT_BACK = "ProxyWentBack"
    PROXY_REPLACEMENT_FAILED = "ProxyReplacementFailed"
    PROXY_UNIT_FAILED = "ProxyUnitFailed"
    PROXY_PANICKED = "ProxyPanicked"
    PROXY_KILLED = "ProxyKilled"
    PROXY_OUT_OF_MEMORY = "ProxyOutOfMemory"
    PROXY_WORKER_DEAD = "ProxyWorkerDead"
    TRUST_ANCHORS_UNUSABLE = "TrustAnchorsUnusable"
    TRUST_ANCHORS_PROPOSED = "TrustAnchorsProposed"
    TRUST_ANCHORS_REFUSED = "TrustAnchorsRefused"
    TRUST_ANCHORS_MISSING = "TrustAnchorsMissing"
    TRUST_ANCHORS_UNWRITABLE = "TrustAnchorsUnwritable"
    TRUST_ANCHORS_PENDING = "TrustAnchorsPending"
    TRUST_ANCHORS_EXPIRING = "TrustAnchorsExpiring"

    REDIRECT_ACTIVE = "RedirectActive"
    REDIRECT_PENDING = "RedirectPending"
    REDIRECT_BLOCKED = "RedirectBlocked"
    REDIRECT_FORBIDDEN = "RedirectForbidden"
    REDIRECT_UNSUPPORTED = "RedirectUnsupported"
    REDIRECT_REFUSED = "RedirectRefused"
    REDIRECT_FAILED = "RedirectFailed"
    REDIRECT_SUSPENDED = "RedirectSuspended"
    REDIRECT_CONTESTED = "RedirectContested"
    FIREWALL_CLOSED = "FirewallClosed"
    FIREWALL_UNCLEAR = "FirewallUnclear"
    CONNECTIONS_UNTRACKED = "ConnectionsUntracked"
    REDIRECT_UNAPPROVED = "RedirectUnapproved"

    ADDRESSES_PRESENT = "AddressesPresent"
    ADDRESS_ABSENT = "AddressAbsent"
    ADDRESSES_UNREADABLE = "AddressesUnreadable"
    LOOPBACK_DOWN = "LoopbackDown"

    PROBES_PASSING = "ProbesPassing"
    PROBE_FAILING = "ProbeFailing"

    API_UNREACHABLE = "ApiUnreachable"
    API_TIMEOUT = "ApiTimeout"
    API_UNVERIFIED = "ApiUnverified"
    API_NAME_MISMATCH = "ApiNameMismatch"
    API_CERTIFICATE_EXPIRED = "ApiCertificateExpired"
    API_CREDENTIAL_UNREADABLE = "ApiCredentialUnreadable"
    API_KUBECONFIG_UNUSABLE = "ApiKubeconfigUnusable"
    API_PLUGIN_FAILED = "ApiPluginFailed"
    API_JWT_MISSING = "ApiJwtMissing"
    API_JWT_REFUSED = "ApiJwtRefused"
    API_UNAUTHORIZED = "ApiUnauthorized"
    API_FORBIDDEN = "ApiForbidden"
    API_CONFLICT = "ApiConflict"
    API_THROTTLED = "ApiThrottled"
    API_FAILING = "ApiFailing"
    API_REFUSED = "ApiRefused"
    STATUS_EDITED = "StatusEdited"
    STATUS_SUBRESOURCE_ABSENT = "StatusSubresourceAbsent"
    WORKLOAD_MATCHES = "WorkloadMatches"
    WORKLOAD_KIND_ABSENT = "WorkloadKindAbsent"
    WORKLOAD_MISSING = "WorkloadMissing"
    WORKLOAD_IDENTITY_MISMATCH = "WorkloadIdentityMismatch"
    WORKLOAD_SERVER_NAME_MISMATCH = "WorkloadServerNameMismatch"
    WORKLOAD_ADDRESS_MISMATCH = "WorkloadAddressMismatch"
    PORTS_MISMATCH = "PortsMismatch"
    OPAQUE_PORTS_MISMATCH = "OpaquePortsMismatch"
    SERVER_SPEAKS_FIRST = "ServerSpeaksFirst"
    LEASE_MISSING = "LeaseMissing"
    MACHINE_DIFFERS = "MachineDiffers"
    HOST_DUPLICATED = "HostDuplicated"
    SLICES_FORBIDDEN = "SlicesForbidden"
    EVENT_GONE = "EventGone"


@dataclass(frozen=True)
class Entry:
    """What is the case, in one sentence; and the way out ("" where there is nothing to do).

    `depends_on`: while one of these is named too, this one is its symptom and stays silent among the problems.
    """

    severity: Severity
    text: str
    remedy: str = ""
    depends_on: frozenset[Reason] = frozenset()


@dataclass(frozen=True)
class Fault:
    """Expected trouble: a reason, and what was seen (for people; never in a condition). `remedy`: what to do about
    this one, where the registry's remedy does not fit; "": it fits."""

    reason: Reason
    detail: str = ""
    remedy: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "detail", text.detail(self.detail))
        object.__setattr__(self, "remedy", text.detail(self.remedy))

    @property
    def entry(self) -> Entry:
        from agent.core.reasons import REGISTRY  # most programs of the proxy's unit never need it

        return REGISTRY[self.reason]

    @property
    def way_out(self) -> str:
        return self.remedy or self.entry.remedy


_COMPONENTS = {
    "identity": ("WORKLOAD_API_", "IDENTITY_", "CLOCK_", "TRUST_ANCHORS_"),
    "proxy": ("PROXY_", "RESTART_", "CONTROL_", "DESTINATION_"),
    "redirect": ("REDIRECT_", "SERVER_", "FIREWALL_"),
    "probe": ("PROBE",),
    "workload": ("API_", "STATUS_", "WORKLOAD_", "PORTS_", "OPAQUE_", "LEASE_", "EVENT_"),
}


def component(reason: Reason) -> str:
    """Which part of the agent a reason is about, as the log names it; "agent" for those about the host."""
    return next((name for name, starts in _COMPONENTS.items() if reason.name.startswith(starts)), "agent")
