"""The registries of `fairlead check`: of the cluster, once, and of each host; in order of dependence."""

from typing import Final

from agent.core.doctor.check import Check, Outcome, of_fault, ok
from agent.core.doctor.cluster import clients, control_plane, installed, neighbours, selecting
from agent.core.reasons import Fault, Reason


def _answered(version: str) -> Outcome:
    return ok(f"it answers, Kubernetes {version}" if version else "it answers")


def _served(there: bool) -> Outcome:
    return ok("workload.linkerd.io/v1beta1") if there else of_fault(Fault(Reason.WORKLOAD_KIND_ABSENT))


_API: Final = ("api-server",)

CLUSTER: Final[tuple[Check, ...]] = (
    Check("api-server", "the API server answers this user", _answered),
    Check("kind", "the cluster has ExternalWorkloads", _served, _API),
    Check("control-plane", "what is known of this version of Linkerd", control_plane.version, _API),
    Check("watcher", "a watcher is alive", control_plane.watcher, _API),
    Check("watcher-rights", "the watcher's rights and policy are installed", installed.installed, _API),
    Check("admission", "the policies that keep each host to itself are installed", installed.installed, _API),
    Check("flow-schema", "hosts have a flow schema of their own", installed.installed, _API),
    Check("patterns", "which policies no host passes as a client", clients.patterns, _API),
)

HOST: Final[tuple[Check, ...]] = (
    Check("ready", "Ready is True, and the Lease vouches for it", selecting.ready),
    Check("services", "a Service selects it", selecting.services),
    Check("service-ports", "the ports of its Services are its own", selecting.service_ports, ("services",)),
    Check("slices", "EndpointSlices list it as its status says", selecting.slices, ("services",)),
    Check("unique", "no other host has its address or identity", neighbours.unique),
    Check("servers", "which Server decides about each port", clients.servers),
    Check("clients", "clients may connect", clients.admitted, ("servers",)),
    Check("source", "its address is one of clusterNetworks", clients.source),
)
