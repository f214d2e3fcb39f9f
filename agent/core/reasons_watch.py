"""The reasons of those that watch hosts: the watcher in the cluster, and Prometheus."""

from collections.abc import Mapping

from agent.core.reason import Entry, Reason, Severity

WATCH: Mapping[Reason, Entry] = {
    Reason.METRICS_UNSERVED: Entry(
        Severity.WARN,
        "metrics are not served at metrics.listen",
        "give this host that address, or free it, or name another",
    ),
    Reason.HOST_UNREACHABLE: Entry(
        Severity.FAULT,
        "the host did not renew its Lease in time (written by the watcher on the host's behalf)",
        "check that the host is up, that fairlead runs, and that the host reaches the API server",
    ),
    Reason.ZONE_GUARDED: Entry(
        Severity.WARN,
        "most hosts of this zone do not renew their Leases, so the watcher marks one at a time",
        "check the network between the zone and the API server; fairlead list shows the hosts",
    ),
    Reason.FLEET_SILENT: Entry(
        Severity.WARN,
        "no host of any zone renews its Lease, so the watcher marks none",
        "check how hosts reach the API server, and the issuer of their credentials",
    ),
    Reason.HOST_UNIQUE: Entry(
        Severity.OK, "no other ExternalWorkload has an address and port, or the SPIFFE ID, of this one"
    ),
    Reason.ENDPOINT_SHARED: Entry(
        Severity.FAULT,
        "another ExternalWorkload has an address and a port of this one, so its clients get errors",
        "correct spec.workloadIPs or spec.ports of one of them, or delete the one that is no longer used",
    ),
    Reason.ADDRESS_IN_CLUSTER: Entry(
        Severity.FAULT,
        "a pod or a node of the cluster has an address of this ExternalWorkload, so clients may reach that one",
        "correct spec.workloadIPs; a host must not have an address of the pod network",
    ),
    Reason.LEASE_SHARED: Entry(
        Severity.FAULT,
        "two machines renew the Lease of this ExternalWorkload, so it stays Ready if one of them dies",
        "stop the copy, or give it a machine-id (systemd-machine-id-setup) and a name (fairlead enrol) of its own",
    ),
    Reason.SPIFFE_ID_SHARED: Entry(
        Severity.WARN,
        "another ExternalWorkload has the SPIFFE ID of this one, so policy cannot tell them apart",
        "give each its own spec.meshTLS.identity, or make both members of a WorkloadGroup with shared: true",
    ),
}
