"""A kubeconfig as credential: server, authority, and a certificate, a token or a program that gives either.

Read anew whenever it changes. What could weaken it is refused, not ignored: no verification turned off, no
password, no proxy, no impersonation.
"""

import base64
import binascii
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.adapters.kube.access import Access, Renewed, contents, is_token
from agent.adapters.kube.exec_plugin import VERSIONS, Plugin
from agent.core.reasons import Fault, Reason
from agent.ports import Trouble

REFUSED = {
    "cluster": ("insecure-skip-tls-verify", "proxy-url"),
    "user": ("username", "password", "auth-provider", "as", "as-uid", "as-groups", "as-user-extra"),
}


@dataclass(frozen=True)
class Chosen:
    """One context of the file. `folder`: what relative paths in it begin at."""

    folder: Path
    context: str
    cluster: Mapping[str, Any] = field(repr=False)
    user: Mapping[str, Any] = field(repr=False)

    @property
    def server(self) -> str:
        return str(self.cluster["server"]).rstrip("/")

    def read(self, table: Mapping[str, Any], key: str, what: str) -> bytes:
        """`KEY-data` inline, or the file that `KEY` names; b"" for neither. Raises Trouble."""
        if inline := table.get(f"{key}-data"):
            try:
                return base64.b64decode(inline, validate=True)
            except (binascii.Error, ValueError, TypeError):
                raise _bad(f"{key}-data is not base64") from None
        return contents(self.folder / str(table[key]), what) if table.get(key) else b""


class Kubeconfig:
    """Implements Credential. `context`: "" for the file's current one."""

    def __init__(self, path: str, context: str, wall: Callable[[], float], jitter: Callable[[], float]) -> None:
        self._path, self._context, self._wall, self._jitter = Path(path), context, wall, jitter
        self._text: bytes | None = None
        self._chosen: Chosen | None = None
        self._renewed: Renewed | None = None

    async def access(self) -> Access:
        chosen = await self._read()
        authority = chosen.read(chosen.cluster, "certificate-authority", "CA certificate")
        if not authority:
            raise _bad(f"the cluster of context {chosen.context!r} names no certificate-authority")
        token, certificate = await self._proof(chosen)
        name = str(chosen.cluster.get("tls-server-name") or "")
        return Access(chosen.server, authority, f"cannot read CA of {self._path}", token, certificate, name)

    def refused(self, said: str) -> Fault:
        if self._renewed is not None:
            self._renewed.stale()
        return Fault(Reason.API_UNAUTHORIZED, said)

    def about(self) -> dict[str, Any]:
        found: dict[str, Any] = {"kind": "kubeconfig", "file": str(self._path)}
        if self._chosen is not None:
            found |= {"context": self._chosen.context, "by": _by(self._chosen.user)}
        if self._renewed is not None and self._renewed.expires_at is not None:
            found["expires_at"] = self._renewed.expires_at
        return found

    async def close(self) -> None:
        if self._renewed is not None:
            await self._renewed.close()

    async def _read(self) -> Chosen:
        try:
            text = self._path.read_bytes()
        except OSError as error:
            raise _bad(f"cannot read {self._path}: {error.strerror}") from None
        if self._chosen is None or text != self._text:
            chosen = choose(text, self._context, self._path.parent)
            await self.close()
            self._renewed = self._plugin(chosen)
            self._chosen, self._text = chosen, text
        return self._chosen

    def _plugin(self, chosen: Chosen) -> Renewed | None:
        if "exec" not in chosen.user:
            return None
        plugin = read_plugin(chosen)
        pending = Fault(Reason.API_PLUGIN_FAILED, f"{plugin.command[0]} has not ended yet")
        return Renewed(lambda: plugin.run(self._wall()), pending, self._jitter)

    async def _proof(self, chosen: Chosen) -> tuple[str, bytes]:
        """Token and certificate."""
        if self._renewed is not None:
            fresh = await self._renewed.get()
            return fresh.token, fresh.certificate
        chain = chosen.read(chosen.user, "client-certificate", "client certificate")
        key = chosen.read(chosen.user, "client-key", "client key")
        token = _token(chosen)
        if bool(chain) != bool(key) or not (chain or token):
            raise _bad(f"the user of context {chosen.context!r} has no token and no certificate with its key")
        return token, chain + b"\n" + key if chain else b""


def choose(text: bytes, context: str, folder: Path) -> Chosen:
    """Raises Trouble (API_KUBECONFIG_UNUSABLE) that quotes nothing of the file but names."""
    import yaml  # only hosts that use a kubeconfig pay for it

    try:
        tree = yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError):
        raise _bad("it is not YAML") from None
    if not isinstance(tree, dict):
        raise _bad("it holds no kubeconfig")
    name = context or str(tree.get("current-context") or "")
    if not name:
        raise _bad("it has no current-context: name one by api.context")
    found = _named(tree, "contexts", "context", name)
    cluster = _named(tree, "clusters", "cluster", str(found.get("cluster")))
    user = _named(tree, "users", "user", str(found.get("user")))
    for kind, table in (("cluster", cluster), ("user", user)):
        if refused := [key for key in REFUSED[kind] if table.get(key)]:
            raise _bad(f"the {kind} of context {name!r} has {', '.join(refused)}, which is refused")
    if not str(cluster.get("server", "")).startswith("https://"):
        raise _bad(f"the server of context {name!r} is not https")
    return Chosen(folder, name, cluster, user)


def read_plugin(chosen: Chosen) -> Plugin:
    table = chosen.user["exec"]
    try:
        command, version = table["command"], table["apiVersion"]
        arguments = [str(word) for word in table.get("args") or ()]
        environment = {str(pair["name"]): str(pair["value"]) for pair in table.get("env") or ()}
        wants_cluster, mode = bool(table.get("provideClusterInfo")), table.get("interactiveMode")
    except (KeyError, TypeError, AttributeError):
        raise _bad(f"exec of context {chosen.context!r} lacks command or apiVersion") from None
    if version not in VERSIONS:
        raise _bad(f"exec of context {chosen.context!r} is of {version!r}, not of {' or '.join(VERSIONS)}")
    if mode == "Always":
        raise _bad(f"exec of context {chosen.context!r} needs a terminal (interactiveMode Always)")
    if "/" in command:
        command = str(chosen.folder / command)
    cluster = _told(chosen) if wants_cluster else None
    return Plugin(version, (command, *arguments), environment, cluster)


def _told(chosen: Chosen) -> Mapping[str, Any]:
    authority = chosen.read(chosen.cluster, "certificate-authority", "CA certificate")
    found = {"server": chosen.server, "certificate-authority-data": base64.b64encode(authority).decode()}
    if name := chosen.cluster.get("tls-server-name"):
        found["tls-server-name"] = name
    return found


def _token(chosen: Chosen) -> str:
    """As kubectl has it, the file goes before what stands inline."""
    if path := chosen.user.get("tokenFile"):
        token = contents(chosen.folder / str(path), "token").decode(errors="replace").strip()
    elif not (token := str(chosen.user.get("token") or "").strip()):
        return ""
    if not is_token(token):
        raise _bad(f"the token of context {chosen.context!r} is none")
    return token


def _named(tree: Mapping[str, Any], plural: str, kind: str, name: str) -> Mapping[str, Any]:
    listed = tree.get(plural)
    for entry in listed if isinstance(listed, list) else ():
        if isinstance(entry, dict) and entry.get("name") == name and isinstance(entry.get(kind), dict):
            found: Mapping[str, Any] = entry[kind]
            return found
    raise _bad(f"it has no {kind} {name!r}")


def _by(user: Mapping[str, Any]) -> str:
    if "exec" in user:
        return "exec plug-in"
    return "token" if user.get("token") or user.get("tokenFile") else "certificate"


def _bad(cause: str) -> Trouble:
    return Trouble(Reason.API_KUBECONFIG_UNUSABLE, cause)
