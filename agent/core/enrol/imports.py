"""Manifests as guides show them → manifests that work, with a note for each thing that was changed.

Law: nothing is invented that peers verify: an identity is given by the operator, or is missing and a problem.
"""

import copy
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from agent.core.enrol import group as groups
from agent.core.enrol.objects import WORKLOADS
from agent.core.enrol.request import Problem, usual_server_name

Json = dict[str, Any]
_UNITS: Final = {"ms": 0.001, "s": 1, "m": 60, "h": 3600}
_TIMES: Final = {"interval": "periodSeconds", "timeout": "timeoutSeconds", "initialDelay": "initialDelaySeconds"}
_COUNTS: Final = ("successThreshold", "failureThreshold")
_PROBE: Final = {"httpGet", "tcpSocket", "grpc", "exec", *_TIMES.values(), *_COUNTS}
_GROUPS: Final = ("WorkloadGroup", "ExternalGroup")
_ENDPOINTS: Final = "Endpoints"
_OLD_POLICY: Final = "policy.linkerd.io/v1alpha1"


@dataclass
class Imported:
    """`notes`: what was changed, and why, by object."""

    bodies: list[Json] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def note(self, body: Json, text: str) -> None:
        self.notes.append(f"{body.get('kind')} {_name(body)}: {text}")


def imported(bodies: Iterable[Json], identity: str, linkerd: str, cluster_domain: str) -> Imported:
    """`identity`: a template with {name}, {namespace} and {group}, for what has none; "": none."""
    done = Imported()
    given = [copy.deepcopy(body) for body in bodies]
    for body in given:
        match body.get("kind"):
            case "ExternalWorkload":
                done.bodies.append(_workload(body, done, identity, linkerd, cluster_domain))
            case kind if kind in _GROUPS:
                done.bodies.append(_group(body, done, identity))
            case "Service" | "Endpoints" | "Server":
                continue
            case "ServerAuthorization" | "MeshTLSAuthentication":
                done.bodies.append(_clients(body, done))
            case _:
                done.bodies.append(body)
    _services(given, done, identity, linkerd, cluster_domain)
    for body in given:
        if body.get("kind") == "Server":
            done.bodies.append(_server(body, done))
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
    spec["workloadIPs"] = [one if isinstance(one, dict) else {"ip": one} for one in spec.get("workloadIPs", [])]
    _mesh_tls(body, done, identity, linkerd, domain)
    return body


def _mesh_tls(body: Json, done: Imported, identity: str, linkerd: str, domain: str) -> None:
    mesh = body["spec"].setdefault("meshTLS", {})
    name, namespace = body["metadata"]["name"], body["metadata"].get("namespace", "default")
    group = body["metadata"].get("labels", {}).get(groups.LABEL, "")
    if not mesh.get("identity"):
        if not identity:
            cause = f"ExternalWorkload {_name(body)} has no meshTLS.identity, without which peers cannot verify it"
            done.problems.append(
                Problem(cause, "give --identity spiffe://TRUST-DOMAIN/{name}, as SPIRE issues it")
            )
            return
        values = {"{name}": name, "{namespace}": namespace, "{group}": group}
        for key, value in values.items():
            identity = identity.replace(key, value)
        mesh["identity"] = identity
        done.note(body, f"meshTLS.identity is {identity}, by --identity")
    if not mesh.get("serverName"):
        mesh["serverName"] = usual_server_name(name, namespace, linkerd, domain)
        done.note(body, f"meshTLS.serverName is {mesh['serverName']}, by Linkerd's convention")


# groups --------------------------------------------------------------------------------------------


def _group(body: Json, done: Imported, identity: str) -> Json:
    if body.get("apiVersion") == groups.VERSION:
        return body
    spec = body.get("spec", {})
    template = spec.get("template", {})
    inner = template.get("spec") or template
    done.note(
        body, f"{body.get('apiVersion')} is not a kind of Linkerd's open source; this is fairlead's WorkloadGroup"
    )
    mesh = dict(spec.get("meshTLS") or inner.get("meshTLS") or inner.get("meshTls") or {})
    if not mesh.get("identity"):
        mesh["identity"] = identity
        if not identity:
            cause = f"{body['kind']} {_name(body)} has no meshTLS.identity, by which peers verify its members"
            done.problems.append(
                Problem(cause, "give --identity spiffe://TRUST-DOMAIN/{name}, as SPIRE issues it")
            )
    if "{name}" not in mesh["identity"] and identity != "":
        mesh["identity"] = identity
    probes = [_probe(body, one, done) for one in inner.get("probes") or spec.get("probes") or []]
    metadata = {key: template.get("metadata", {}).get(key) for key in ("labels", "annotations")}
    return {
        "apiVersion": groups.VERSION,
        "kind": "WorkloadGroup",
        "metadata": {key: body["metadata"][key] for key in ("name", "namespace") if key in body["metadata"]},
        "spec": {
            "template": {
                "metadata": {key: value for key, value in metadata.items() if value},
                "spec": {
                    "ports": [_port(one) for one in inner.get("ports", [])],
                    **({"probes": [probe for probe in probes if probe]} if any(probes) else {}),
                },
            },
            "meshTLS": mesh,
        },
    }


def _port(body: Json) -> Json:
    return {key: body[key] for key in ("name", "port", "protocol", "opaque") if key in body}


def _probe(group: Json, body: Json, done: Imported) -> Json:
    """{}: it has no equivalent."""
    if "exec" in body:
        done.note(group, "an exec probe was removed: commands never come from the cluster; write it on the host")
        return {}
    probe: Json = {}
    for key, value in body.items():
        name = _TIMES.get(key, key)
        if name not in _PROBE:
            done.note(group, f"{key} of a probe was removed: it is not known")
            continue
        probe[name] = _seconds(value) if name.endswith("Seconds") else value
        if probe[name] != value or name != key:
            done.note(group, f"{key}: {value} of a probe is written {name}: {probe[name]}")
    target = probe.get("httpGet") or probe.get("tcpSocket") or {}
    if isinstance(target, dict) and target.pop("host", None) is not None:
        done.note(group, "the host of a probe was removed: each agent probes the address of its own host")
    return probe


def _seconds(value: object) -> object:
    """Whole seconds, at least 1, of a duration like 15s; another value as it is."""
    found = re.fullmatch(r"([0-9.]+)(ms|s|m|h)", value) if isinstance(value, str) else None
    return max(1, round(float(found[1]) * _UNITS[found[2]])) if found else value


# Services, Endpoints, Servers ----------------------------------------------------------------------


def _services(given: Iterable[Json], done: Imported, identity: str, linkerd: str, domain: str) -> None:
    """Endpoints beside a Service without a selector become ExternalWorkloads that it selects."""
    endpoints = {_name(body): body for body in given if body.get("kind") == _ENDPOINTS}
    for service in (body for body in given if body.get("kind") == "Service"):
        beside = endpoints.pop(_name(service), None)
        if beside is not None and not service.get("spec", {}).get("selector"):
            label = {"app": service["metadata"]["name"]}
            service.setdefault("spec", {})["selector"] = label
            done.note(service, "it selects the ExternalWorkloads, in place of its Endpoints, which are not meshed")
            for body in _from_endpoints(beside, label):
                done.note(beside, f"its address {body['spec']['workloadIPs'][0]['ip']} is {_name(body)} now")
                done.bodies.append(_workload(body, done, identity, linkerd, domain))
        elif beside is not None:
            done.bodies.append(beside)
        done.bodies.append(service)
    done.bodies += endpoints.values()


def _from_endpoints(body: Json, labels: Mapping[str, str]) -> Iterator[Json]:
    meta, number = body["metadata"], 0
    namespace = {"namespace": meta["namespace"]} if "namespace" in meta else {}
    for subset in body.get("subsets", []):
        for address in subset.get("addresses", []):
            number += 1
            yield {
                "apiVersion": WORKLOADS,
                "kind": "ExternalWorkload",
                "metadata": {"name": f"{meta['name']}-{number}", **namespace, "labels": dict(labels)},
                "spec": {
                    "workloadIPs": [{"ip": address["ip"]}],
                    "ports": [_port(port) for port in subset.get("ports", [])],
                },
            }


def _server(body: Json, done: Imported) -> Json:
    """A podSelector never meets a host."""
    spec = body.get("spec", {})
    wanted = spec.get("podSelector", {}).get("matchLabels", {})
    labels = [
        one["metadata"].get("labels", {})
        for one in done.bodies
        if one.get("kind") == "ExternalWorkload" and _namespace(one) == _namespace(body)
    ]
    if wanted and any(wanted.items() <= found.items() for found in labels):
        spec["externalWorkloadSelector"] = spec.pop("podSelector")
        done.note(body, "podSelector is externalWorkloadSelector: a podSelector never selects a host")
        if body.get("apiVersion") not in ("policy.linkerd.io/v1beta2", "policy.linkerd.io/v1beta3"):
            done.note(body, f"{body.get('apiVersion')} has no externalWorkloadSelector: it is v1beta3")
            body["apiVersion"] = "policy.linkerd.io/v1beta3"
    return body


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


def _namespace(body: Json) -> str:
    return str(body["metadata"].get("namespace", ""))


def _name(body: Json) -> str:
    namespace = _namespace(body)
    return f"{namespace}/{body['metadata']['name']}" if namespace else str(body["metadata"]["name"])
