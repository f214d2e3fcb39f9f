"""Every reason that fairlead gives, once: severity, text, what to do, and what it depends on."""

from collections.abc import Mapping

from agent.core.reason import Entry, Fault, Reason, Severity, component
from agent.core.reasons_control import control
from agent.core.reasons_identity import IDENTITY
from agent.core.reasons_machines import MACHINES
from agent.core.reasons_watch import WATCH

__all__ = ["REGISTRY", "Entry", "Fault", "Reason", "Severity", "component"]


def _reasons(*prefixes: str) -> frozenset[Reason]:
    return frozenset(r for r in Reason if r.name.startswith(prefixes))


_GOOD = frozenset({Reason.IDENTITY_VALID, Reason.PROXY_READY, Reason.REDIRECT_ACTIVE})
_LIVED_WITH = {Reason.IDENTITY_OVERDUE, Reason.IDENTITY_OUTBOUND_ONLY}
_NO_IDENTITY = _reasons("WORKLOAD_API_", "IDENTITY_", "CLOCK_") - _GOOD - _LIVED_WITH
_NO_PROXY = _reasons("PROXY_", "TRUST_ANCHORS_UNUSABLE", "HELPER_") - _GOOD
_NO_RULES = _reasons("REDIRECT_FORBIDDEN", "REDIRECT_UNSUPPORTED", "REDIRECT_REFUSED", "REDIRECT_FAILED")
_NO_WORKLOAD = frozenset({Reason.WORKLOAD_MISSING, Reason.WORKLOAD_KIND_ABSENT})

_OK, _WAIT, _WARN, _FAULT = Severity.OK, Severity.WAIT, Severity.WARN, Severity.FAULT

REGISTRY: Mapping[Reason, Entry] = {
    Reason.HOST_READY: Entry(_OK, "identity, proxy, redirect and probes are as intended"),
    **WATCH,
    Reason.FLAPPING: Entry(
        _WAIT,
        "the host became not ready too often, so Ready is held back for some minutes",
        "the log says why it became not ready",
    ),
    Reason.NOT_DRAINING: Entry(_OK, "the host is a member of the mesh and is not being drained"),
    Reason.STARTING: Entry(_WAIT, "the agent has just started and not all facts are known yet"),
    Reason.DRAINING: Entry(_WAIT, "an operator drains this host", "to end it: fairlead undrain"),
    Reason.RETIRED: Entry(_WAIT, "an operator retires this host", "to end it: fairlead enrol --replace"),
    **MACHINES,
    Reason.LEFT: Entry(_WAIT, "an operator removed this host from the mesh", "to add it again: fairlead join"),
    Reason.SHUTTING_DOWN: Entry(_WAIT, "the host is shutting down"),
    Reason.PHASE_UNREADABLE: Entry(
        _FAULT,
        "the recorded phase of this host cannot be read, so nothing is changed",
        "check /var/lib/fairlead/phase; fairlead join or fairlead leave writes it again",
    ),
    Reason.PHASE_UNWRITABLE: Entry(
        _FAULT,
        "the phase of this host cannot be recorded, so it would be lost at a reboot",
        "see the detail; /var/lib/fairlead must be root's, with space left",
    ),
    Reason.HELPER_REFUSED: Entry(
        _FAULT,
        "the privileged helper refused a request of the agent",
        "agent and helper have different versions: systemctl restart fairlead",
    ),
    Reason.CONFIGURATION_REFUSED: Entry(
        _WARN,
        "the edited configuration has problems, so the previous one stays in force",
        "list them: fairlead check-config /etc/fairlead/fairlead.toml; then: fairlead reload",
    ),
    Reason.CONFIGURATION_UNUSABLE: Entry(
        _FAULT,
        "there is no usable configuration owned by root",
        "fairlead check-config /etc/fairlead/fairlead.toml lists every problem; an example: "
        "/usr/share/doc/fairlead/examples/fairlead.toml",
    ),
    Reason.STATE_UNWRITABLE: Entry(
        _WARN,
        "the state of this host cannot be written; the host still serves, but drain, leave and join fail",
        "free disk space (df -hi /var/lib/fairlead), or mount it read-write, then: systemctl restart fairlead",
    ),
    Reason.SOCKETS_GONE: Entry(
        _WARN,
        "a socket below /run/fairlead was removed, so the agent restarts and creates it again",
        "find what cleans /run; without systemd, start the agent again",
    ),
    **IDENTITY,
    **control(_NO_IDENTITY | _NO_PROXY),
    Reason.PROXY_READY: Entry(_OK, "the proxy is ready, certified, and listens"),
    Reason.PROXY_STOPPED: Entry(_WAIT, "the proxy is not running", depends_on=_NO_IDENTITY),
    Reason.PROXY_STARTING: Entry(_WAIT, "the proxy runs and is not ready yet", depends_on=_NO_IDENTITY),
    Reason.PROXY_STOPPING: Entry(_WAIT, "the proxy finishes its open connections"),
    Reason.PROXY_UNREADABLE: Entry(
        _WARN, "the proxy's admin port cannot be read, so its state is not known", "check the proxy's log"
    ),
    Reason.PROXY_UNCERTIFIED: Entry(
        _FAULT,
        "the proxy runs without a certificate",
        "check that the Workload API serves the proxy's user: fairlead identity-gate",
        _NO_IDENTITY,
    ),
    Reason.PROXY_CERTIFICATE_EXPIRED: Entry(
        _FAULT,
        "the proxy's certificate has expired, or is about to expire",
        "find out why the Workload API does not renew it",
        _NO_IDENTITY,
    ),
    Reason.PROXY_LISTENER_ABSENT: Entry(
        _FAULT, "the proxy runs but does not accept connections", "check the proxy's log"
    ),
    Reason.PROXY_LISTENER_FOREIGN: Entry(
        _FAULT,
        "a process of another user listens on the proxy's port",
        "find it with ss -ltnp 'sport = :4143 or sport = :4140' and stop it",
    ),
    Reason.PROXY_IDENTITY_MISSING: Entry(
        _FAULT,
        "the Workload API gives the proxy's user no usable SVID, so the proxy is not started",
        "create a registration entry for the proxy's user with the same SPIFFE ID",
        _NO_IDENTITY,
    ),
    Reason.PROXY_BINARY_UNUSABLE: Entry(
        _FAULT,
        "the proxy's binary is missing or cannot be executed",
        "install one: fairlead proxy install FILE; or correct proxy.binary",
    ),
    Reason.PROXY_NOT_PERMITTED: Entry(
        _FAULT, "the agent may not start the proxy as its user", "run the agent as root, or under systemd"
    ),
    Reason.PROXY_CONFIGURATION_REFUSED: Entry(
        _FAULT, "the proxy refused its configuration (exit 64)", "check the proxy's log for the variable"
    ),
    Reason.PROXY_FAILED_TO_START: Entry(_FAULT, "the proxy could not be set up (exit 1)", "check the proxy's log"),
    Reason.PROXY_PORT_TAKEN: Entry(
        _FAULT,
        "a port that the proxy needs is in use",
        "find its holder: ss -ltnp 'sport = :4143 or sport = :4140 or sport = :4191'",
    ),
    Reason.PROXY_CRASHED: Entry(
        _FAULT, "the proxy ended by a signal, or by an exit code without a meaning", "see: fairlead proxy logs"
    ),
    Reason.PROXY_UNIT_FAILED: Entry(
        _FAULT,
        "systemd did not carry out a request for fairlead-proxy.service",
        "see the detail, and: systemctl status fairlead-proxy",
    ),
    Reason.PROXY_PANICKED: Entry(
        _FAULT,
        "the proxy panicked (exit 101), as it does when a port that it needs is in use",
        "see: fairlead proxy logs, and ss -ltnp 'sport = :4143 or sport = :4140'",
    ),
    Reason.PROXY_KILLED: Entry(
        _FAULT, "the proxy was killed (SIGKILL)", "if no operator did this, check the kernel's log: journalctl -k"
    ),
    Reason.PROXY_OUT_OF_MEMORY: Entry(
        _FAULT,
        "the kernel killed the proxy (SIGKILL) because memory ran out",
        "give the host more memory, or the unit: systemctl edit fairlead-proxy (MemoryMax=)",
    ),
    Reason.PROXY_WORKER_DEAD: Entry(
        _FAULT,
        "a worker thread of the proxy has died, so outbound requests fail; the proxy is replaced",
        "upgrade it to 2.346 or newer: fairlead proxy install",
    ),
    Reason.STANDBY_NOT_READY: Entry(
        _WARN,
        "the proxy serves, and there is none that could take over from it (proxy.standby)",
        "see the detail, and: journalctl -u fairlead-proxy -u fairlead-proxy-standby",
        _NO_IDENTITY,
    ),
    Reason.PROXY_REPLACING: Entry(_WAIT, "the proxy is drained, then replaced or restarted"),
    Reason.RESTART_PENDING: Entry(
        _WARN,
        "the running proxy was started with settings that differ from the configuration",
        "at a convenient time: fairlead proxy restart",
    ),
    Reason.PROXY_WENT_BACK: Entry(
        _WARN,
        "the new version of the proxy did not become ready, so the previous one serves again",
        "see the detail and the proxy's log, then try another: fairlead proxy upgrade VERSION",
    ),
    Reason.PROXY_REPLACEMENT_FAILED: Entry(
        _FAULT,
        "after a replacement, neither the new proxy nor the previous one became ready",
        "see the proxy's log; fairlead proxy upgrade VERSION tries another",
    ),
    Reason.REDIRECT_ACTIVE: Entry(_OK, "the traffic redirect is as intended"),
    Reason.REDIRECT_PENDING: Entry(
        _WAIT,
        "the traffic redirect is not set as intended yet",
        depends_on=_NO_IDENTITY | _NO_PROXY | _NO_RULES,
    ),
    Reason.REDIRECT_BLOCKED: Entry(
        _WAIT,
        "the declared ports are closed until the proxy is ready",
        depends_on=_NO_IDENTITY | _NO_PROXY | _NO_RULES,
    ),
    Reason.REDIRECT_FORBIDDEN: Entry(
        _FAULT,
        "fairlead may not read or change the kernel's rules",
        "give it CAP_NET_ADMIN: run it as root, or by its unit",
    ),
    Reason.REDIRECT_UNSUPPORTED: Entry(
        _FAULT,
        "a program or a kernel feature that the redirect needs is missing",
        "see the detail; install nftables (apt-get install nftables), or choose redirect.backend",
    ),
    Reason.REDIRECT_REFUSED: Entry(
        _FAULT,
        "the redirect that the configuration asks for would harm the host, so it is refused",
        "correct workload.ports or the redirect section",
    ),
    Reason.REDIRECT_FAILED: Entry(
        _FAULT, "the traffic redirect cannot be read or set", "see the detail, and journalctl -k"
    ),
    Reason.REDIRECT_SUSPENDED: Entry(
        _FAULT,
        "a redirect failed its self-test, was not confirmed or was reverted, so the agent sets none until an "
        "operator does; when the proxy ends, closed ports stay closed",
        "see the detail and fairlead plan; fairlead redirect apply sets it again",
    ),
    Reason.REDIRECT_CONTESTED: Entry(
        _FAULT,
        "another program keeps changing fairlead's rules, so fairlead repairs them less often",
        "find it with: nft monitor; exclude the table inet fairlead there",
    ),
    Reason.FIREWALL_CLOSED: Entry(
        _FAULT,
        "the host's own firewall keeps peers, or outbound connections, from the proxy",
        "fairlead plan names the rule, and the command that opens the inbound port",
    ),
    Reason.FIREWALL_UNCLEAR: Entry(
        _WARN,
        "the host's own firewall keeps some connections from the proxy, or it is not known whether it does",
        "fairlead plan names the rule; try a connection",
    ),
    Reason.CONNECTIONS_UNTRACKED: Entry(
        _FAULT,
        "the host's own firewall excludes redirected connections from connection tracking, so they hang",
        "let connections to the proxy be tracked: fairlead plan names the rule",
    ),
    Reason.REDIRECT_UNAPPROVED: Entry(
        _WARN,
        "the configuration was edited, and the redirect still follows the last approved one",
        "compare them: fairlead plan; to approve it: fairlead redirect apply (--confirm 60s)",
    ),
    Reason.ADDRESSES_PRESENT: Entry(_OK, "this host has the addresses that peers connect to"),
    Reason.ADDRESS_ABSENT: Entry(
        _FAULT,
        "no interface of this host has an address that peers connect to",
        "correct host.addresses, or give an interface that address; if it is translated before it arrives, set "
        "host.address_translated",
    ),
    Reason.ADDRESSES_UNREADABLE: Entry(
        _WARN,
        "the addresses of this host's interfaces cannot be read, so it is not known whether peers reach it",
        "see the detail; the unit fairlead.service must allow AF_NETLINK (RestrictAddressFamilies=)",
    ),
    Reason.LOOPBACK_DOWN: Entry(_FAULT, "the interface lo is down, so the proxy cannot work", "ip link set lo up"),
    Reason.PROBES_PASSING: Entry(_OK, "every probe passes"),
    Reason.PROBE_FAILING: Entry(
        _FAULT, "the local application fails its probe", "check that it runs and listens on the workload's address"
    ),
    Reason.API_UNREACHABLE: Entry(
        _WARN, "the API server cannot be reached", "check api.server, and the route to it"
    ),
    Reason.API_TIMEOUT: Entry(_WARN, "the API server does not answer in time", "check the route to it"),
    Reason.API_UNVERIFIED: Entry(
        _FAULT,
        "the API server's certificate does not come from the configured CA",
        "put the CA that signed it at api.ca, which is read again at once; verification is never turned off",
    ),
    Reason.API_NAME_MISMATCH: Entry(
        _FAULT,
        "the API server's certificate does not have the name or address in api.server",
        "use a name that the certificate has in api.server, or add this one to the certificate",
    ),
    Reason.API_CERTIFICATE_EXPIRED: Entry(
        _FAULT,
        "by this host's clock, the API server's certificate has expired or is not valid yet",
        "renew it at the API server; if others find it valid, correct the clock: timedatectl status",
        frozenset({Reason.CLOCK_SKEWED}),
    ),
    Reason.API_CREDENTIAL_UNREADABLE: Entry(
        _FAULT,
        "a file that belongs to the credential for the API server cannot be read or used",
        "correct the file that the detail names, or its mode",
    ),
    Reason.API_KUBECONFIG_UNUSABLE: Entry(
        _FAULT,
        "the kubeconfig cannot be read, or contains something that is refused",
        "correct it; kubectl --kubeconfig FILE config view shows it, without its secrets",
    ),
    Reason.API_PLUGIN_FAILED: Entry(
        _FAULT,
        "the program that the kubeconfig names gave no credential",
        "run it manually as the agent's user; its environment contains only env of the kubeconfig",
    ),
    Reason.API_JWT_MISSING: Entry(
        _FAULT,
        "the Workload API gives no JWT-SVID for the API server",
        "check the SPIRE agent's log, and that an entry for api.identity selects the agent's user",
        _NO_IDENTITY,
    ),
    Reason.API_JWT_REFUSED: Entry(
        _FAULT,
        "the API server does not accept this host's JWT-SVID (401)",
        "make issuer and audience those of its AuthenticationConfiguration; after its start it may take 10 s",
    ),
    Reason.API_UNAUTHORIZED: Entry(
        _FAULT, "the API server does not accept this host's credential (401)", "renew the token"
    ),
    Reason.API_FORBIDDEN: Entry(
        _FAULT,
        "the API server forbids what this host needs (403)",
        "see the detail; give it the rights in config/cluster/host.yaml",
    ),
    Reason.API_CONFLICT: Entry(_WAIT, "another client changed the ExternalWorkload (409); it is read again"),
    Reason.API_THROTTLED: Entry(_WAIT, "the API server limits the rate of requests (429)"),
    Reason.API_FAILING: Entry(
        _WARN, "the API server answers with an internal error (5xx)", "check the API server's log"
    ),
    Reason.API_REFUSED: Entry(
        _FAULT, "the API server refused what this host wrote (4xx)", "the detail names the policy that refuses it"
    ),
    Reason.STATUS_EDITED: Entry(
        _WARN,
        "another client changed this host's conditions; each correction waits longer than the last",
        "find out which client writes them: kubectl get externalworkload --show-managed-fields -o yaml",
    ),
    Reason.STATUS_SUBRESOURCE_ABSENT: Entry(
        _FAULT,
        "there is no /status of ExternalWorkload (Linkerd 2.15), and the host may not patch the object itself",
        "upgrade Linkerd to 2.16, or allow patch of externalworkloads as config/cluster/host.yaml says",
    ),
    Reason.WORKLOAD_MATCHES: Entry(_OK, "the ExternalWorkload describes this host"),
    Reason.WORKLOAD_KIND_ABSENT: Entry(
        _FAULT,
        "the API server does not serve workload.linkerd.io/v1beta1: Linkerd is missing, or has only v1alpha1",
        "install the CRDs of Linkerd edge-24.2.4 or later",
    ),
    Reason.WORKLOAD_MISSING: Entry(
        _FAULT, "there is no such ExternalWorkload", "create it, or correct workload.name and workload.namespace"
    ),
    Reason.WORKLOAD_IDENTITY_MISMATCH: Entry(
        _FAULT,
        "the ExternalWorkload names a different identity than this host has",
        "make spec.meshTLS.identity and workload.identity equal",
    ),
    Reason.WORKLOAD_SERVER_NAME_MISMATCH: Entry(
        _FAULT,
        "the ExternalWorkload names a different server name than the proxy has",
        "make spec.meshTLS.serverName and workload.server_name equal",
    ),
    Reason.WORKLOAD_ADDRESS_MISMATCH: Entry(
        _FAULT,
        "the ExternalWorkload lists an address that this host's configuration does not have",
        "make spec.workloadIPs and host.addresses equal",
    ),
    Reason.PORTS_MISMATCH: Entry(
        _WARN,
        "the ExternalWorkload's ports differ from the declared ports",
        "make spec.ports and workload.ports equal",
    ),
    Reason.OPAQUE_PORTS_MISMATCH: Entry(
        _WARN,
        "the ExternalWorkload's annotation config.linkerd.io/opaque-ports and workload.opaque_ports differ",
        "make them equal; without the annotation the proxy drops clients of a server that speaks first",
    ),
    Reason.SERVER_SPEAKS_FIRST: Entry(
        _FAULT,
        "a server on a declared port speaks first, so the proxy would drop its plain clients",
        "annotate the ExternalWorkload with config.linkerd.io/opaque-ports, list the port in"
        " workload.opaque_ports, then: fairlead redirect apply; to redirect the port all the same: fairlead join"
        " --force",
    ),
    Reason.LEASE_MISSING: Entry(
        _WARN,
        "the host's Lease is missing, so the cluster cannot notice when this host dies",
        "create a Lease with the ExternalWorkload's name beside it",
        _NO_WORKLOAD,
    ),
    Reason.SLICES_FORBIDDEN: Entry(
        _WARN,
        "this host may not list EndpointSlices, so a drain waits for drain.settle instead",
        "allow list of endpointslices as config/cluster/host.yaml says",
    ),
    Reason.EVENT_GONE: Entry(_WAIT, "an Event expired at the API server; a new one is created"),
}
