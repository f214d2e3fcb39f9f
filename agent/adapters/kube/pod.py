"""The API server as a pod reaches it: by its own account."""

from collections.abc import Mapping
from pathlib import Path

from agent.adapters.kube.access import Credential, TokenFile

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


def credential(environment: Mapping[str, str]) -> Credential | None:
    """None: this is no pod."""
    host, port = (environment.get(f"KUBERNETES_SERVICE_{key}") for key in ("HOST", "PORT"))
    if not host or not port:
        return None
    name = f"[{host}]" if ":" in host else host
    return TokenFile(f"https://{name}:{port}", str(ACCOUNT / "ca.crt"), str(ACCOUNT / "token"))
