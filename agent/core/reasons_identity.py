"""What is said of the reasons that are about identity: the Workload API, the SVID, the trust anchors."""

from collections.abc import Mapping
from typing import Final

from agent.core.reason import Entry, Reason, Severity

_OK, _WAIT, _WARN, _FAULT = Severity.OK, Severity.WAIT, Severity.WARN, Severity.FAULT

IDENTITY: Final[Mapping[Reason, Entry]] = {
    Reason.IDENTITY_VALID: Entry(_OK, "the identity is the configured one, and valid"),
    Reason.WORKLOAD_API_ABSENT: Entry(
        _FAULT,
        "there is no SPIFFE Workload API socket at the configured path",
        "start the SPIRE agent, or correct identity.workload_api",
    ),
    Reason.WORKLOAD_API_REFUSED: Entry(
        _FAULT,
        "the SPIFFE Workload API socket refuses connections",
        "check that the SPIRE agent runs: systemctl status spire-agent",
    ),
    Reason.WORKLOAD_API_DENIED: Entry(
        _FAULT,
        "the Workload API has no identity for this caller",
        "create a registration entry for the users of the agent and the proxy; a new one takes seconds",
    ),
    Reason.WORKLOAD_API_SILENT: Entry(
        _FAULT, "the Workload API accepted the connection but does not answer", "check the SPIRE agent's log"
    ),
    Reason.WORKLOAD_API_FAILED: Entry(
        _FAULT, "the Workload API answered with an error", "check the SPIRE agent's log"
    ),
    Reason.WORKLOAD_API_INVALID: Entry(
        _FAULT,
        "the Workload API rejects the request as invalid, and a proxy does not retry after that",
        "check what listens at identity.workload_api; when it is SPIRE again, restart the proxy",
    ),
    Reason.IDENTITY_UNEXPECTED: Entry(
        _FAULT,
        "no SVID from the Workload API has the configured SPIFFE ID",
        "correct workload.identity or the registration entry",
    ),
    Reason.IDENTITY_TOO_LONG: Entry(
        _FAULT,
        "the SPIFFE ID that the Workload API gives is longer than the 253 characters of an ExternalWorkload",
        "give the registration entry a shorter path",
    ),
    Reason.IDENTITY_MALFORMED: Entry(
        _FAULT,
        "the Workload API sent an unusable SVID: malformed, or with a key that does not match",
        "check the SPIRE agent's log",
    ),
    Reason.IDENTITY_UNTRUSTED: Entry(
        _FAULT,
        "the SVID does not chain to the trust anchors, so the proxy and its peers would reject it",
        "let SPIRE issue under the mesh's root (UpstreamAuthority), or correct identity.trust_anchors",
    ),
    Reason.IDENTITY_OVERDUE: Entry(
        _WARN,
        "the SVID or token is still valid, but its renewal is overdue",
        "check that the SPIRE agent reaches its server (spire-agent healthcheck), or what renews the token",
    ),
    Reason.IDENTITY_KEY_UNSUITABLE: Entry(
        _FAULT,
        "the SVID's key is not EC P-256, so the proxy's handshakes would fail",
        "set the SPIRE server's CA and X.509 key type to ec-p256",
    ),
    Reason.IDENTITY_EXPIRED: Entry(
        _FAULT,
        "the SVID or token has expired, or is about to expire",
        "find out why SPIRE, or the program that renews the token, does not renew it",
    ),
    Reason.IDENTITY_OUTBOUND_ONLY: Entry(
        _WARN,
        "the identity is a service account's, which peers cannot verify: the host can call, but not be called",
        "none if this is intended; to let peers reach the host, give it a SPIFFE identity (docs/spire.md)",
    ),
    Reason.IDENTITY_TOKEN_UNREADABLE: Entry(
        _FAULT,
        "there is no token that the proxy's user can read",
        "see the detail; docs/token-identity.md says who must own the file",
    ),
    Reason.IDENTITY_TOKEN_UNSUITABLE: Entry(
        _FAULT,
        "the token is not one for which Linkerd gives this host's identity",
        "kubectl create token ACCOUNT --audience identity.l5d.io, for identity.service_account",
    ),
    Reason.IDENTITY_TOKEN_UNWRITABLE: Entry(
        _FAULT,
        "the token cannot be put where the proxy's user reads it",
        "see the detail; /run/fairlead-token is made at boot: systemd-tmpfiles --create fairlead.conf",
    ),
    Reason.CLOCK_SKEWED: Entry(
        _FAULT,
        "by this host's clock, the SVID or token is not valid yet, or an SVID had expired when it arrived",
        "correct the host's clock: timedatectl status",
    ),
    Reason.TRUST_ANCHORS_UNUSABLE: Entry(
        _FAULT,
        "the trust anchors cannot be read or hold no certificate",
        "put the mesh's trust anchors (PEM) at identity.trust_anchors",
    ),
    Reason.TRUST_ANCHORS_PROPOSED: Entry(
        _WARN,
        "the mesh has other trust anchors than this host; they wait for an operator's approval",
        "compare them: fairlead anchors show; then: fairlead anchors accept DIGEST",
    ),
    Reason.TRUST_ANCHORS_REFUSED: Entry(
        _WARN,
        "new trust anchors were found that would cut this host off, so they are not proposed",
        "see the detail; the set must cover the current SVID and share an anchor with those in force",
    ),
    Reason.TRUST_ANCHORS_MISSING: Entry(
        _WARN,
        "there is no ConfigMap linkerd-identity-trust-roots with a ca-bundle.crt",
        'correct control_plane.namespace, or set identity.anchors_source to "file"',
    ),
    Reason.TRUST_ANCHORS_UNWRITABLE: Entry(
        _WARN,
        "new trust anchors cannot be stored for an operator's approval",
        "see the detail; /var/lib/fairlead/agent must be the agent's, with space left",
    ),
    Reason.TRUST_ANCHORS_PENDING: Entry(
        _WAIT,
        "the running proxy has other trust anchors than those in force, and will be restarted for the new ones",
        "to restart it now: fairlead proxy restart",
    ),
    Reason.TRUST_ANCHORS_EXPIRING: Entry(
        _WARN,
        "the trust anchor of this host's identity expires within six weeks, or has expired",
        "rotate the mesh's trust anchors, on hosts and in the cluster: fairlead anchors show",
        frozenset({Reason.CLOCK_SKEWED}),
    ),
}
