"""Manifests as guides show them → manifests that work, with a note for each thing that was changed.

Law: nothing is invented that peers verify: an identity is given by the operator, or is missing and a problem.
"""

import copy
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from agent.core import addresses
from agent.core.enrol import group as groups
from agent.core.enrol import import_groups
from agent.core.enrol.imported import Imported, Json, labels, name, namespace
from agent.core.enrol.objects import WORKLOADS
from agent.core.enrol.request import usual_server_name

_ENDPOINTS: Final = "Endpoints"
_OLD_POLICY: Final = "policy.linkerd.io/v1alpha1"
_TEMPLATED: Final = ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job")  # they make pods


def imported(bodies: Iterable[Json], identity: str, linkerd: str, cluster_domain: str) -> Imported:
    """`identity`: a template with {name}, {namespace} and {group}, for what has none; "": none."""
    done = Imported()
    given = [copy.deepcopy(body) for body in bodies]
    for body in given:
        match body.get("kind"):
            case "ExternalWorkload":
                group = import_groups.of_member(body, given)
                member = body if group is None else import_groups.inherited(body, group, done)
                template = (group and import_groups.identity(group)) or identity
                done.bodies.append(_workload(member, done, template, linkerd, cluster_domain))
            case kind if kind in import_groups.KINDS:
                done.bodies.append(import_groups.converted(body, done, identity))
            case "Service" | "Endpoints" | "Server":
                continue
            case "ServerAuthorization" | "MeshTLSAuthentication":
                done.bodies.append(_clients(body, done))
            case _:
                done.bodies.append(body)
    _services(given, done, identity, linkerd, cluster_domain)
    for body in given:
        if body.get("kind") == "Server":
            done.bodies.append(_server(body, done, given))
    return done


# ExternalWorkloads ---------------------------------------------------------------------------------


def _workload(body: Json, done: Imported, identity: str, linkerd: str, domain: str) -> Json:
    spec = body.setdefault("spec", {})
    if body.get("apiVersion") != WORKLOADS:
        done.note(body, f"{body.get('apiVersion')} is written {WORKLOADS} now")
        body["apiVersion"] = WORKLOADS
    if body.pop("status", None) is not None:
        done.note(
            body, "its status was removed: the API server drops it, and the host's agent writes the conditions"
        )
    if spec.pop("probes", None) is not None:
        remedy = "write [[probe]] into the host's fairlead.toml, or probes into a WorkloadGroup"
        done.note(body, f"its probes were removed: an ExternalWorkload has none; {remedy}")
    if "meshTls" in spec:
        done.note(body, "meshTls is written meshTLS")
        spec["meshTLS"] = spec.pop("meshTls")
    for key in sorted(set(spec) - {"meshTLS", "workloadIPs", "ports"}):
        del spec[key]
        done.note(body, f"spec.{key} was removed: Linkerd ignores it")
    _addresses(body, done)
    _mesh_tls(body, done, identity, linkerd, domain)
    return body


def _addresses(body: Json, done: Imported) -> None:
    spec = body["spec"]
    there = spec.get("workloadIPs") or []
    listed = [there] if isinstance(there, dict) else there
    spec["workloadIPs"] = [one if isinstance(one, dict) else {"ip": one} for one in listed]
    if spec["workloadIPs"] != there:
        done.note(body, "workloadIPs is written as a list of ip: ADDRESS")
    for one in spec["workloadIPs"]:
        try:
            addresses.address(str(one.get("ip")))
        except ValueError:
            remedy = "write an address of the host in its place"
            done.problem(body, f"has the address {one.get('ip')}, which is not an IP address", remedy)
    if not spec["workloadIPs"]:
        done.problem(body, "has no workloadIPs, at which peers reach it", "write an address of the host there")


def _mesh_tls(body: Json, done: Imported, identity: str, linkerd: str, domain: str) -> None:
    mesh = body["spec"].setdefault("meshTLS", {})
    own, where = body["metadata"]["name"], namespace(body) or "default"
    group = labels(body).get(groups.LABEL, "")
    if not mesh.get("identity"):
        if not identity:
            remedy = "give --identity spiffe://TRUST-DOMAIN/{name}, as SPIRE issues it"
            done.problem(body, "has no meshTLS.identity, without which peers cannot verify it", remedy)
            return
        values = {"{name}": own, "{namespace}": where, "{group}": group}
        for key, value in values.items():
            identity = identity.replace(key, value)
        mesh["identity"] = identity
        done.note(body, f"meshTLS.identity is {identity}")
    if not mesh.get("serverName"):
        mesh["serverName"] = usual_server_name(own, where, linkerd, domain)
        done.note(body, f"meshTLS.serverName is {mesh['serverName']}, by Linkerd's convention")


# Services, Endpoints, Servers ----------------------------------------------------------------------


def _services(given: Iterable[Json], done: Imported, identity: str, linkerd: str, domain: str) -> None:
    """Endpoints beside a Service without a selector become ExternalWorkloads that it selects."""
    endpoints = {name(body): body for body in given if body.get("kind") == _ENDPOINTS}
    for service in (body for body in given if body.get("kind") == "Service"):
        beside = endpoints.pop(name(service), None)
        if beside is not None and not service.get("spec", {}).get("selector"):
            label = {"app": service["metadata"]["name"]}
            service.setdefault("spec", {})["selector"] = label
            done.note(service, "it selects the ExternalWorkloads, in place of its Endpoints, which are not meshed")
            for body in _from_endpoints(beside, label):
                done.note(beside, f"its address {body['spec']['workloadIPs'][0]['ip']} is {name(body)} now")
                done.bodies.append(_workload(body, done, identity, linkerd, domain))
        elif beside is not None:
            done.bodies.append(beside)
        done.bodies.append(service)
    done.bodies += endpoints.values()


def _from_endpoints(body: Json, shown: Mapping[str, str]) -> Iterator[Json]:
    meta, number = body["metadata"], 0
    where = {"namespace": meta["namespace"]} if "namespace" in meta else {}
    for subset in body.get("subsets", []):
        for address in subset.get("addresses", []):
            number += 1
            yield {
                "apiVersion": WORKLOADS,
                "kind": "ExternalWorkload",
                "metadata": {"name": f"{meta['name']}-{number}", **where, "labels": dict(shown)},
                "spec": {
                    "workloadIPs": [{"ip": address["ip"]}],
                    "ports": [import_groups.port(port) for port in subset.get("ports", [])],
                },
            }


def _server(body: Json, done: Imported, given: Iterable[Json]) -> Json:
    """A podSelector never selects a host. One that selects pods of the same manifests stays."""
    spec = body.get("spec", {})
    wanted = spec.get("podSelector", {}).get("matchLabels", {})
    here = [one for one in done.bodies if namespace(one) == namespace(body)]
    if not wanted or not any(wanted.items() <= _of_hosts(one).items() for one in here):
        return body
    if pods := [one for one in given if namespace(one) == namespace(body) and _makes(one, wanted)]:
        beside = f"podSelector selects the pods of {pods[0]['kind']} {name(pods[0])}, and never a host"
        done.note(body, f"its {beside}; write another Server with externalWorkloadSelector for the hosts")
        return body
    spec["externalWorkloadSelector"] = spec.pop("podSelector")
    done.note(body, "podSelector is externalWorkloadSelector: a podSelector never selects a host")
    if body.get("apiVersion") not in ("policy.linkerd.io/v1beta2", "policy.linkerd.io/v1beta3"):
        done.note(body, f"{body.get('apiVersion')} has no externalWorkloadSelector: it is v1beta3")
        body["apiVersion"] = "policy.linkerd.io/v1beta3"
    return body


def _of_hosts(body: Json) -> Mapping[str, str]:
    """The labels of the ExternalWorkloads that this object is, or of which it is the template."""
    if body.get("kind") == "ExternalWorkload":
        return labels(body)
    return labels(body["spec"]["template"]) if body.get("kind") == "WorkloadGroup" else {}


def _makes(body: Json, wanted: Mapping[str, str]) -> bool:
    """Whether this object is a pod with these labels, or makes such pods."""
    if body.get("kind") in _TEMPLATED:
        template = body.get("spec", {}).get("template", {})
        return wanted.items() <= labels({"metadata": {}, **template}).items()
    return body.get("kind") == "Pod" and wanted.items() <= labels(body).items()


def _clients(body: Json, done: Imported) -> Json:
    """Who may connect. A SPIFFE ID, which hosts have, is matched only by itself."""
    spec = body.get("spec", {})
    mesh = spec
    if body["kind"] == "ServerAuthorization":
        mesh = spec.get("client", {}).get("meshTLS", {})
        if body.get("apiVersion") == _OLD_POLICY:
            body["apiVersion"] = "policy.linkerd.io/v1beta1"
            done.note(body, f"{_OLD_POLICY} is no longer served; it is written {body['apiVersion']}")
    for identity in mesh.get("identities") or []:
        if str(identity).startswith("*"):
            done.note(
                body, f"the pattern {identity} never matches the SPIFFE ID of a host: list each host's exact ID"
            )
    return body
