"""Linkerd's policy kinds as CustomResourceDefinitions, restated: what a strict API server must know of them."""

from typing import Any

Json = dict[str, Any]
_TEXT: Json = {"type": "string"}
_REFERENCE: Json = {
    "type": "object",
    "required": ["kind", "name"],
    "properties": {"group": _TEXT, "kind": _TEXT, "name": _TEXT, "namespace": _TEXT},
}
_SELECTOR: Json = {
    "type": "object",
    "properties": {"matchLabels": {"type": "object", "additionalProperties": _TEXT}},
}
_ACCOUNT: Json = {"type": "object", "required": ["name"], "properties": {"name": _TEXT, "namespace": _TEXT}}
_SERVER: Json = {
    "required": ["port"],
    "oneOf": [{"required": ["podSelector"]}, {"required": ["externalWorkloadSelector"]}],
    "properties": {
        "podSelector": _SELECTOR,
        "externalWorkloadSelector": _SELECTOR,
        "port": {"x-kubernetes-int-or-string": True},
        "proxyProtocol": {"type": "string", "default": "unknown"},
    },
}
_ACCESS: Json = {"accessPolicy": {"type": "string", "default": "deny"}}
_SPECS: dict[str, dict[str, Json]] = {
    "Server": {
        "v1beta3": {**_SERVER, "properties": {**_SERVER["properties"], **_ACCESS}},
        "v1beta2": _SERVER,
    },
    "MeshTLSAuthentication": {
        "v1alpha1": {"properties": {"identities": {"type": "array", "items": _TEXT}}},
    },
    "ServerAuthorization": {
        "v1beta1": {
            "required": ["server", "client"],
            "properties": {
                "server": {"type": "object", "properties": {"name": _TEXT, "selector": _SELECTOR}},
                "client": {
                    "type": "object",
                    "properties": {
                        "unauthenticated": {"type": "boolean"},
                        "meshTLS": {
                            "type": "object",
                            "properties": {
                                "identities": {"type": "array", "items": _TEXT},
                                "serviceAccounts": {"type": "array", "items": _ACCOUNT},
                            },
                        },
                    },
                },
            },
        },
    },
    "AuthorizationPolicy": {
        "v1alpha1": {
            "required": ["targetRef", "requiredAuthenticationRefs"],
            "properties": {
                "targetRef": _REFERENCE,
                "requiredAuthenticationRefs": {"type": "array", "items": _REFERENCE},
            },
        },
    },
}
PLURALS = {
    "Server": "servers",
    "MeshTLSAuthentication": "meshtlsauthentications",
    "AuthorizationPolicy": "authorizationpolicies",
    "ServerAuthorization": "serverauthorizations",
}


def definitions() -> list[Json]:
    return [_definition(kind, specs) for kind, specs in _SPECS.items()]


def _definition(kind: str, specs: dict[str, Json]) -> Json:
    plural = PLURALS[kind]
    versions = [
        {
            "name": version,
            "served": True,
            "storage": at == 0,
            "schema": {
                "openAPIV3Schema": {
                    "type": "object",
                    "required": ["spec"],
                    "properties": {"spec": {"type": "object", **spec}},
                }
            },
        }
        for at, (version, spec) in enumerate(specs.items())
    ]
    names = {"kind": kind, "plural": plural, "singular": kind.lower(), "listKind": f"{kind}List"}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.policy.linkerd.io"},
        "spec": {"group": "policy.linkerd.io", "scope": "Namespaced", "names": names, "versions": versions},
    }
