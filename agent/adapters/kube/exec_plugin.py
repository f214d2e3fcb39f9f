"""A credential from a program that a kubeconfig names (client.authentication.k8s.io), as cloud logins are."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from agent.adapters import spawn
from agent.adapters.kube.access import Fresh, is_token
from agent.core.reasons import Reason
from agent.ports import Trouble

VERSIONS = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")
WITHIN = 30.0  # seconds; a cloud's login takes several


@dataclass(frozen=True)
class Plugin:
    """`environment`: what the kubeconfig adds to a bare one: nothing of the agent's own is inherited.
    `cluster`: the server's data for the program, if the kubeconfig provides it."""

    version: str
    command: Sequence[str]
    environment: Mapping[str, str]
    cluster: Mapping[str, Any] | None = None

    async def run(self, wall: float) -> Fresh:
        """Run it once, never interactively. Raises Trouble (API_PLUGIN_FAILED); what it says on standard output
        is secret, so no detail has any of it."""
        spec: dict[str, Any] = {"interactive": False} | ({"cluster": self.cluster} if self.cluster else {})
        info = {"apiVersion": self.version, "kind": "ExecCredential", "spec": spec}
        environment = {
            **spawn.ENVIRONMENT,
            **self.environment,
            "KUBERNETES_EXEC_INFO": json.dumps(info, default=str, skipkeys=True),
        }
        try:
            done = await spawn.run(self.command, within=WITHIN, environment=environment)
        except spawn.SpawnError as error:
            raise Trouble(Reason.API_PLUGIN_FAILED, str(error)) from None
        name = Path(self.command[0]).name
        if done.code != 0:
            # Its standard error may quote what it was refused with: the exit code must do.
            raise Trouble(Reason.API_PLUGIN_FAILED, f"{name}: exit {done.code}")
        fresh = read(done.output, self.version, wall)
        if isinstance(fresh, str):
            raise Trouble(Reason.API_PLUGIN_FAILED, f"{name}: {fresh}")
        return fresh


def read(output: bytes, version: str, wall: float) -> Fresh | str:
    """What the program gave, or what is wrong with it."""
    try:
        answer = json.loads(output)
        status = answer["status"]
        asked = (answer["apiVersion"], answer["kind"]) == (version, "ExecCredential")
        token, chain, key = (status.get(k) or "" for k in ("token", "clientCertificateData", "clientKeyData"))
        lifetime = _lifetime(status.get("expirationTimestamp"), wall)
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
        return "its output is no ExecCredential"
    if not asked:
        return f"its output is not an ExecCredential of {version}"
    if not all(isinstance(text, str) for text in (token, chain, key)) or bool(chain) != bool(key):
        return "its output has a certificate without a key, or a key without a certificate"
    if not (chain or token) or (token and not is_token(token)):
        return "its output has neither a token nor a certificate"
    if lifetime is not None and lifetime <= 0:
        return "what it gave has expired already"
    return Fresh(token, f"{chain}\n{key}".encode() if chain else b"", lifetime)


def _lifetime(timestamp: str | None, wall: float) -> float | None:
    """Raises ValueError, TypeError."""
    if not timestamp:
        return None
    parsed = datetime.fromisoformat(timestamp)
    return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp() - wall
