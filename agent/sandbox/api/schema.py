"""The schemas of objects: the ExternalWorkload CRD restated (docs/linkerd.md §5), Lease, Event, and checking them.

A structural schema does three things to a write, in this order: it drops unknown fields, fills in
defaults, and refuses what is then invalid, naming every field.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker, ValidationError, validators

Json = dict[str, Any]

CONDITION_TYPE = (
    r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?"
    r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$"
)
CONDITION_REASON = r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$"


def _text(least: int | None = None, most: int | None = None, **more: Any) -> Json:
    limits = {"minLength": least, "maxLength": most}
    return {"type": "string", **{k: v for k, v in limits.items() if v is not None}, **more}


def _object(properties: Json, *required: str) -> Json:
    return {"type": "object", "properties": properties, **({"required": list(required)} if required else {})}


def _list(items: Json, **more: Any) -> Json:
    return {"type": "array", "items": items, **more}


_INT32 = {"type": "integer", "format": "int32"}
_TIME = {"type": "string", "format": "date-time"}

_PORT = _object(
    {"name": _text(), "port": {**_INT32, "minimum": 1, "maximum": 65535}, "protocol": _text(default="TCP")},
    "port",
)
_CONDITION = _object(
    {
        "type": _text(most=316, pattern=CONDITION_TYPE),
        "status": _text(enum=["True", "False", "Unknown"]),
        "reason": _text(1, 1024, pattern=CONDITION_REASON),
        "message": _text(most=32768),
        "lastProbeTime": _TIME,
        "lastTransitionTime": _TIME,
    }
)
EXTERNAL_WORKLOAD_SCHEMA: Json = _object(
    {
        "apiVersion": _text(),
        "kind": _text(),
        "metadata": {"type": "object"},
        "spec": _object(
            {
                "meshTLS": _object(
                    {"identity": _text(1, 253), "serverName": _text(1, 253)}, "identity", "serverName"
                ),
                "ports": _list(_PORT),
                "workloadIPs": _list(_object({"ip": _text()}), maxItems=2),
            },
            "meshTLS",
        ),
        # Upstream writes `required` on the list and not on its items, where it demands nothing.
        "status": _object({"conditions": _list(_CONDITION, required=["status", "type"])}),
    },
    "spec",
)

EXTERNAL_WORKLOAD_CRD: Json = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "externalworkloads.workload.linkerd.io"},
    "spec": {
        "group": "workload.linkerd.io",
        "scope": "Namespaced",
        "names": {
            "kind": "ExternalWorkload",
            "listKind": "ExternalWorkloadList",
            "plural": "externalworkloads",
            "singular": "externalworkload",
            "categories": ["external"],
        },
        "versions": [
            {
                "name": "v1beta1",
                "served": True,
                "storage": True,
                "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": EXTERNAL_WORKLOAD_SCHEMA},
                "additionalPrinterColumns": [
                    {"name": "Identity", "type": "string", "jsonPath": ".spec.meshTLS.identity"},
                    {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
                ],
            }
        ],
    },
}

LEASE_SCHEMA: Json = _object(
    {
        "apiVersion": _text(),
        "kind": _text(),
        "metadata": {"type": "object"},
        "spec": _object(
            {
                "holderIdentity": _text(),
                "leaseDurationSeconds": {**_INT32, "minimum": 1},
                "acquireTime": {"type": "string", "format": "micro-time"},
                "renewTime": {"type": "string", "format": "micro-time"},
                "leaseTransitions": {**_INT32, "minimum": 0},
            }
        ),
    }
)

_REFERENCE = _object(
    {key: _text() for key in ("apiVersion", "kind", "name", "namespace", "uid", "fieldPath", "resourceVersion")}
)
EVENT_SCHEMA: Json = _object(
    {
        "apiVersion": _text(),
        "kind": _text(),
        "metadata": {"type": "object"},
        "eventTime": {"type": "string", "format": "micro-time"},
        "reportingController": _text(1),
        "reportingInstance": _text(1, 128),
        "action": _text(1, 128),
        "reason": _text(1, 128),
        "note": _text(most=1024),
        "type": _text(enum=["Normal", "Warning"]),
        "regarding": _REFERENCE,
        "related": _REFERENCE,
        "series": _object({"count": {**_INT32, "minimum": 2}, "lastObservedTime": _TIME}),
    },
    "eventTime",
    "reportingController",
    "reportingInstance",
    "action",
    "reason",
    "type",
)

_TARGET = _object({key: _text() for key in ("kind", "namespace", "name", "uid", "apiVersion")})
_ENDPOINT = _object(
    {
        "addresses": _list(_text(), minItems=1, maxItems=100),
        "conditions": _object({key: {"type": "boolean"} for key in ("ready", "serving", "terminating")}),
        "hostname": _text(),
        "zone": _text(),
        "targetRef": _TARGET,
    },
    "addresses",
)
ENDPOINT_SLICE_SCHEMA: Json = _object(
    {
        "apiVersion": _text(),
        "kind": _text(),
        "metadata": {"type": "object"},
        "addressType": _text(enum=["IPv4", "IPv6", "FQDN"]),
        "endpoints": _list(_ENDPOINT, maxItems=1000),
        "ports": _list(_object({"name": _text(), "port": _INT32, "protocol": _text(default="TCP")})),
    },
    "addressType",
    "endpoints",
)

_OWNER = _object(
    {key: _text() for key in ("apiVersion", "kind", "name", "uid")}
    | {"controller": {"type": "boolean"}, "blockOwnerDeletion": {"type": "boolean"}},
    "apiVersion",
    "kind",
    "name",
    "uid",
)
_STRINGS: Json = {"type": "object", "additionalProperties": _text()}
METADATA_SCHEMA: Json = _object(
    {
        "name": _text(1, 253, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"),
        "namespace": _text(),
        "uid": _text(),
        "resourceVersion": _text(),
        "generation": {"type": "integer"},
        "creationTimestamp": _TIME,
        "labels": _STRINGS,
        "annotations": _STRINGS,
        "ownerReferences": _list(_OWNER),
    },
    "name",
)


# checking -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Problem:
    """One entry of a Status' details.causes."""

    field: str
    reason: str
    message: str


def shape(value: Any, schema: Json) -> Any:
    """A copy of `value` without the fields that the schema does not know, and with its defaults."""
    if isinstance(value, list) and "items" in schema:
        return [shape(item, schema["items"]) for item in value]
    if not isinstance(value, Mapping):
        return value
    if "additionalProperties" in schema:
        return dict(value)
    known: Json = schema.get("properties", {})
    if not known:
        return dict(value)
    defaults = {k: s["default"] for k, s in known.items() if "default" in s}
    return defaults | {k: shape(v, known[k]) for k, v in value.items() if k in known}


def problems(value: Any, schema: Json) -> list[Problem]:
    """Everything that is invalid in `value`, in the API server's words where they are plain."""
    errors = _Validator(schema, format_checker=_FORMATS).iter_errors(value)
    return sorted((_problem(error) for error in errors), key=lambda p: p.field)


def _required(_validator: Any, required: list[str], value: Any, _schema: Any) -> Iterator[ValidationError]:
    """As jsonschema's own, with the missing field in the path, where Kubernetes reports it."""
    for name in required if isinstance(value, Mapping) else ():
        if name not in value:
            yield ValidationError("Required value", path=[name])


def _pattern(validator: Any, pattern: str, value: Any, schema: Any) -> Iterator[ValidationError]:
    """In Go `$` is the end of the text; in Python it also stands before a last newline."""
    if isinstance(value, str) and value.endswith("\n"):
        yield ValidationError(f"should match {pattern!r}", instance=value)
    yield from Draft202012Validator.VALIDATORS["pattern"](validator, pattern, value, schema) or ()


_Validator: type[Draft202012Validator] = validators.extend(  # type: ignore[no-untyped-call]
    Draft202012Validator, {"required": _required, "pattern": _pattern}
)
_FORMATS = FormatChecker(formats=())
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)\Z")


@_FORMATS.checks("date-time", raises=ValueError)
def _is_time(value: object) -> bool:
    return not isinstance(value, str) or (
        bool(_RFC3339.match(value)) and datetime.fromisoformat(value) is not None
    )


@_FORMATS.checks("micro-time", raises=ValueError)
def _is_micro_time(value: object) -> bool:
    """Kubernetes reads these by a layout with exactly six digits after the point."""
    return not isinstance(value, str) or (_is_time(value) and bool(re.search(r"\.\d{6}\D", value)))


@_FORMATS.checks("int32")
def _is_int32(value: object) -> bool:
    return not isinstance(value, int) or -(2**31) <= value < 2**31


_REASONS = {
    "required": "FieldValueRequired",
    "enum": "FieldValueNotSupported",
    "type": "FieldValueTypeInvalid",
    "maxLength": "FieldValueTooLong",
    "maxItems": "FieldValueTooMany",
}


def _problem(error: ValidationError) -> Problem:
    field = ""
    for step in error.absolute_path:
        field += f"[{step}]" if isinstance(step, int) else f".{step}" if field else str(step)
    return Problem(
        field or "<nil>", _REASONS.get(str(error.validator), "FieldValueInvalid"), _message(field, error)
    )


def _message(field: str, error: ValidationError) -> str:
    value: Any = error.instance
    limit: Any = error.validator_value
    shown = value if isinstance(value, str) else repr(value)
    match error.validator:
        case "required":
            return "Required value"
        case "enum":
            allowed = ", ".join(f'"{v}"' for v in limit)
            return f'Unsupported value: "{shown}": supported values: {allowed}'
        case "maxLength":
            return f"Too long: may not be more than {limit} bytes"
        case "maxItems":
            return f"Too many: {len(value)}: must have at most {limit} items"
        case "pattern":
            return f'Invalid value: "{shown}": {field} in body should match {limit!r}'
        case _:
            return f'Invalid value: "{shown}": {error.message}'
