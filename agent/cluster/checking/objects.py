"""Kubernetes' JSON → the values that the judgements need."""

from collections.abc import Iterator

from agent.adapters.kube.json_values import Json, part, parts, text
from agent.adapters.kube.json_values import lease as lease_of
from agent.cluster.listing import rows
from agent.core.conditions import READY
from agent.core.doctor.cluster import seen
from agent.core.watch.fleet import GROUP

DEFAULT_POLICY = "config.linkerd.io/default-inbound-policy"
WRITER = "linkerd-external-workloads-controller"


def workload(body: Json) -> seen.Workload:
    meta, spec = part(body, "metadata"), part(body, "spec")
    found = [one for one in parts(part(body, "status"), "conditions") if text(one, "type") == READY]
    ready = next((one for one in found if text(one, "status") == "True"), found[0] if found else {})
    return seen.Workload(
        namespace=text(meta, "namespace"),
        name=text(meta, "name"),
        uid=text(meta, "uid"),
        labels=_texts(part(meta, "labels")),
        addresses=tuple(filter(None, (text(one, "ip") for one in parts(spec, "workloadIPs")))),
        ports=tuple(
            seen.Port(one["port"], text(one, "name"), text(one, "protocol") or "TCP")
            for one in parts(spec, "ports")
            if isinstance(one.get("port"), int)
        ),
        identity=text(part(spec, "meshTLS"), "identity"),
        group=text(part(meta, "labels"), GROUP),
        ready=text(ready, "status"),
        reason=text(ready, "reason"),
        message=text(ready, "message"),
        default_policy=text(part(meta, "annotations"), DEFAULT_POLICY),
    )


def lease(body: Json, now: float) -> seen.Lease:
    at = rows.moment(text(part(body, "spec"), "renewTime"))
    owners = (text(one, "uid") for one in parts(part(body, "metadata"), "ownerReferences"))
    return seen.Lease(None if at is None else now - at, lease_of(body).duration, next(owners, ""))


def service(body: Json) -> seen.Service:
    spec = part(body, "spec")
    ports = tuple(
        seen.ServicePort(one["port"], _target(one.get("targetPort"), one["port"]), text(one, "protocol") or "TCP")
        for one in parts(spec, "ports")
        if isinstance(one.get("port"), int)
    )
    return seen.Service(text(part(body, "metadata"), "name"), _texts(part(spec, "selector")), ports)


def _target(value: object, usual: int) -> int | str:
    """0 and none: the Service's own port."""
    return value if isinstance(value, int | str) and value else usual


def ready_flag(slices: list[Json], service: str, workload: seen.Workload) -> bool | None:
    """Of this host in the EndpointSlices that Linkerd writes for the Service; None: none lists it."""
    flags = [
        part(endpoint, "conditions").get("ready") is not False
        for one in slices
        if part(part(one, "metadata"), "labels").get("kubernetes.io/service-name") == service
        for endpoint in parts(one, "endpoints")
        if _is(part(endpoint, "targetRef"), workload)
    ]
    return any(flags) if flags else None


def _is(reference: Json, workload: seen.Workload) -> bool:
    wanted = ("ExternalWorkload", workload.name, workload.namespace)
    return (text(reference, "kind"), text(reference, "name"), text(reference, "namespace")) == wanted


def server(body: Json) -> seen.Server:
    meta, spec = part(body, "metadata"), part(body, "spec")
    chosen = spec.get("externalWorkloadSelector")
    port = spec.get("port")
    return seen.Server(
        name=text(meta, "name"),
        selector=_selector(chosen) if isinstance(chosen, dict) else None,
        port=port if isinstance(port, int | str) else 0,
        access=text(spec, "accessPolicy") or "deny",
        created=text(meta, "creationTimestamp"),
    )


def _selector(body: Json) -> seen.Selector:
    expressions = tuple(
        seen.Requirement(text(one, "key"), text(one, "operator"), _words(one, "values"))
        for one in parts(body, "matchExpressions")
    )
    return seen.Selector(_texts(part(body, "matchLabels")), expressions)


def authentication(body: Json, kind: str) -> seen.Authentication:
    meta, spec = part(body, "metadata"), part(body, "spec")
    return seen.Authentication(
        kind=kind,
        name=text(meta, "name"),
        namespace=text(meta, "namespace"),
        identities=_words(spec, "identities"),
        accounts=tuple(text(one, "name") for one in parts(spec, "identityRefs")),
        networks=kind == "NetworkAuthentication",
    )


def policy(body: Json, known: list[seen.Authentication]) -> seen.Policy:
    meta, spec = part(body, "metadata"), part(body, "spec")
    namespace, target = text(meta, "namespace"), part(spec, "targetRef")
    kind = text(target, "kind")
    name = text(target, "name") if kind != "Namespace" or text(target, "name") != namespace else ""
    required = tuple(_required(parts(spec, "requiredAuthenticationRefs"), namespace, known))
    return seen.Policy(text(meta, "name"), (kind, name), required)


def _required(
    references: list[Json], namespace: str, known: list[seen.Authentication]
) -> Iterator[seen.Authentication]:
    """One that does not exist admits no client; a ServiceAccount admits pods alone."""
    for one in references:
        key = (text(one, "kind"), text(one, "name"), text(one, "namespace") or namespace)
        found = (auth for auth in known if (auth.kind, auth.name, auth.namespace) == key)
        yield next(found, seen.Authentication(*key))


def _words(body: Json, key: str) -> tuple[str, ...]:
    found = body.get(key)
    return tuple(one for one in found if isinstance(one, str)) if isinstance(found, list) else ()


def _texts(body: Json) -> dict[str, str]:
    return {key: value for key, value in body.items() if isinstance(value, str)}
