"""Tokens of service accounts as Kubernetes issues them, but unsigned."""

import base64
import json
from typing import Any

from agent.core.token import AUDIENCE

SUBJECT = "system:serviceaccount:shop:db-1"
NAME = "db-1.shop.serviceaccount.identity.linkerd.cluster.local"


def token(begins: float = 0.0, ends: float = 86400.0, **other: Any) -> str:
    said = {"aud": [AUDIENCE], "sub": SUBJECT, "iat": begins, "nbf": begins, "exp": ends, **other}
    return ".".join(_coded(part) for part in ({"alg": "RS256"}, said, {"planted": "signature"}))


def _coded(part: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")
