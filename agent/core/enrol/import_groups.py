"""Groups of guides → WorkloadGroups, and what a group's members get from it.

In guides a member inherits from its group. Linkerd's open source has no groups, so each member is written out.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from agent.core.enrol import group as groups
from agent.core.enrol.imported import Imported, Json, labels, name, namespace

KINDS: Final = ("WorkloadGroup", "ExternalGroup")
_UNITS: Final = {"ms": 0.001, "s": 1, "m": 60, "h": 3600}
_TIMES: Final = {
    "interval": "periodSeconds",
    "period": "periodSeconds",
    "timeout": "timeoutSeconds",
    "initialDelay": "initialDelaySeconds",
}
_COUNTS: Final = ("successThreshold", "failureThreshold")
_PROBE: Final = {"httpGet", "tcpSocket", "grpc", "exec", *_TIMES.values(), *_COUNTS}
_HTTP: Final = ("path", "port", "scheme", "host")
_GIVE: Final = "give --identity spiffe://TRUST-DOMAIN/{name}, as SPIRE issues it"


def of_member(body: Json, given: Iterable[Json]) -> Json | None:
    """The group whose label this ExternalWorkload carries, if it is among the manifests."""
    wanted = (namespace(body), labels(body).get(groups.LABEL))
    found = [one for one in given if one.get("kind") in KINDS]
    return next((one for one in found if (namespace(one), one["metadata"]["name"]) == wanted), None)


def inherited(body: Json, group: Json, done: Imported) -> Json:
    """A member with the labels, annotations and ports of its group, where it has none of its own."""
    template, inner = _template(group)
    for key in ("labels", "annotations"):
        own, theirs = body["metadata"].get(key) or {}, (template.get("metadata") or {}).get(key) or {}
        if more := {one: value for one, value in theirs.items() if one not in own}:
            body["metadata"][key] = {**theirs, **own}
            done.note(body, f"{key} {', '.join(sorted(more))}: as in {group['kind']} {name(group)}")
    ports = body.setdefault("spec", {}).setdefault("ports", [])
    there = {one.get("port") for one in ports}
    if more_ports := [port(one) for one in inner.get("ports") or [] if one.get("port") not in there]:
        body["spec"]["ports"] = [*more_ports, *ports]
        listed = ", ".join(str(one["port"]) for one in more_ports)
        done.note(body, f"port {listed}: as in {group['kind']} {name(group)}")
    return body


def identity(group: Json) -> str:
    """By which each member can be told apart; "": there is none."""
    found = str(_mesh(group).get("identity") or "")
    return found if "{name}" in found else ""


def converted(body: Json, done: Imported, given_identity: str) -> Json:
    if body.get("apiVersion") == groups.VERSION:
        return body
    template, inner = _template(body)
    version = body.get("apiVersion")
    done.note(body, f"{version} is not a kind of Linkerd's open source; this is fairlead's WorkloadGroup")
    named_ports = [port(one) for one in inner.get("ports") or []]
    if not named_ports:
        done.problem(body, "has no ports, on which its members are reached", "write spec.template.spec.ports")
    listed = inner.get("probes") or body.get("spec", {}).get("probes") or []
    probes = [probe for one in listed if (probe := _probe(body, one, named_ports, done))]
    metadata = {key: (template.get("metadata") or {}).get(key) for key in ("labels", "annotations")}
    return {
        "apiVersion": groups.VERSION,
        "kind": "WorkloadGroup",
        "metadata": {key: body["metadata"][key] for key in ("name", "namespace") if key in body["metadata"]},
        "spec": {
            "template": {
                "metadata": {key: value for key, value in metadata.items() if value},
                "spec": {"ports": named_ports, **({"probes": probes} if probes else {})},
            },
            "meshTLS": _told_apart(body, done, given_identity),
        },
    }


def port(body: Json) -> Json:
    return {key: body[key] for key in ("name", "port", "protocol", "opaque") if key in body}


def _template(group: Json) -> tuple[Json, Json]:
    """The template, and where its ports are."""
    template = group.get("spec", {}).get("template") or {}
    return template, template.get("spec") or template


def _mesh(group: Json) -> Mapping[str, Any]:
    spec = group.get("spec", {})
    _, inner = _template(group)
    return spec.get("meshTLS") or inner.get("meshTLS") or inner.get("meshTls") or {}


def _told_apart(body: Json, done: Imported, given_identity: str) -> Json:
    """meshTLS, by which peers verify each member."""
    mesh = dict(_mesh(body))
    there = str(mesh.get("identity") or "")
    if there and ("{name}" in there or mesh.get("shared")):
        return mesh
    mesh["identity"] = given_identity
    if given_identity and there:
        done.note(body, f"meshTLS.identity {there} is one for all members; it is {given_identity}, by --identity")
    elif there:
        cause = f"has one meshTLS.identity for all members, {there}, so that peers cannot tell them apart"
        done.problem(body, cause, f"{_GIVE}; or write shared: true beside it")
    elif not given_identity:
        done.problem(body, "has no meshTLS.identity, by which peers verify its members", _GIVE)
    return mesh


# probes --------------------------------------------------------------------------------------------


def _probe(group: Json, body: Json, ports: Iterable[Json], done: Imported) -> Json:
    """{}: it has no equivalent."""
    if "exec" in body:
        done.note(group, "an exec probe was removed: commands never come from the cluster; write it on the host")
        return {}
    probe: Json = {}
    for key, value in _with_http(group, body, done).items():
        named = _TIMES.get(key, key)
        if named not in _PROBE:
            done.note(group, f"{key} of a probe was removed: it is not known")
            continue
        probe[named] = _seconds(value) if named.endswith("Seconds") else value
        if probe[named] != value or named != key:
            done.note(group, f"{key}: {value} of a probe is written {named}: {probe[named]}")
    _aim(group, probe, ports, done)
    return probe


def _with_http(group: Json, body: Json, done: Imported) -> Json:
    """A probe whose path and port are beside its times."""
    beside = {key: body[key] for key in _HTTP if key in body}
    if not beside or {"httpGet", "tcpSocket", "grpc"} & set(body):
        return body
    done.note(group, f"{' and '.join(beside)} of a probe are written below httpGet")
    return {"httpGet": beside, **{key: value for key, value in body.items() if key not in beside}}


def _aim(group: Json, probe: Json, ports: Iterable[Json], done: Imported) -> None:
    """At a port's number, on the agent's own host."""
    target = probe.get("httpGet") or probe.get("tcpSocket") or probe.get("grpc") or {}
    if target.pop("host", None) is not None:
        done.note(group, "the host of a probe was removed: each agent probes the address of its own host")
    if not isinstance(named := target.get("port"), str):
        return
    found = next((one["port"] for one in ports if one.get("name") == named), None)
    if found is None:
        done.problem(group, f"has a probe of port {named}, which its template lacks", "write the port's number")
    else:
        target["port"] = found
        done.note(group, f"port: {named} of a probe is written {found}")


def _seconds(value: object) -> object:
    """Whole seconds, at least 1, of a duration like 15s; another value as it is."""
    found = re.fullmatch(r"([0-9.]+)(ms|s|m|h)", value) if isinstance(value, str) else None
    return max(1, round(float(found[1]) * _UNITS[found[2]])) if found else value
