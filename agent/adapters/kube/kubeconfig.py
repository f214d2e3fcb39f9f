"""A kubeconfig as credential: server, authority, and a certificate, a token or a program that gives either.

Read again when it changes. Settings that weaken it are refused, not ignored: no verification turned off, no
password, no proxy, no impersonation.
"""

import asyncio
import base64
import binascii
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.adapters.kube.access import Access, Renewed, contents, is_token
from agent.adapters.kube.exec_plugin import VERSIONS, Plugin
from agent.core import text_files
from agent.core.reasons import Fault, Reason
from agent.host import reading
from agent.ports import Trouble

_HERE = "give this host a user of its own"
_NO_PASSWORDS = "Kubernetes takes no passwords: use a token, a certificate or exec"
# By table and key: what is to be done.
REFUSED: Mapping[str, Mapping[str, str]] = {
    "cluster": {
        "insecure-skip-tls-verify": "the server is always verified: name its certificate-authority instead",
        "proxy-url": "the server is dialled without a proxy: let this host reach it",
    },
    "user": {
        "username": _NO_PASSWORDS,
        "password": _NO_PASSWORDS,
        "auth-provider": "it is deprecated: use exec, such as kubelogin (OIDC, AKS) or gke-gcloud-auth-plugin",
        "as": _HERE,
        "as-uid": _HERE,
        "as-groups": _HERE,
        "as-user-extra": _HERE,
    },
}
SYSTEM_ROOTS = "/etc/ssl/certs/ca-certificates.crt"
EXEC_EXTENSION = "client.authentication.k8s.io/exec"


@dataclass(frozen=True)
class Chosen:
    """One context of the file. `folder`: what relative paths in it begin at."""

    folder: Path
    context: str
    cluster: Mapping[str, Any] = field(repr=False)
    user: Mapping[str, Any] = field(repr=False)

    @property
    def server(self) -> str:
        url = _worded(self.cluster.get("server"), "server of the cluster").rstrip("/")
        return url if "://" in url else f"https://{url}"

    def read(self, table: Mapping[str, Any], key: str, what: str) -> bytes:
        """`KEY-data` inline, or the file that `KEY` names; b"" for neither. Raises Trouble."""
        if inline := _worded(table.get(f"{key}-data"), f"{key}-data"):
            try:  # wrapped lines are usual, and Go reads past their ends
                return base64.b64decode(inline.replace("\r", "").replace("\n", ""), validate=True)
            except (binascii.Error, ValueError):
                raise _bad(f"{key}-data is not base64") from None
        path = _worded(table.get(key), key)
        return contents(self.folder / path, what) if path else b""


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
            cause = f"the cluster of context {chosen.context!r} names no certificate-authority"
            raise _bad(f"{cause}, and this host's own (such as {SYSTEM_ROOTS}) counts only where it is named")
        token, certificate = await self._proof(chosen)
        name = _worded(chosen.cluster.get("tls-server-name"), "tls-server-name")
        return Access(chosen.server, authority, f"cannot read CA of {self._path}", token, certificate, name)

    def refused(self, said: str) -> Fault:
        if self._renewed is not None:
            self._renewed.stale()
        return Fault(Reason.API_UNAUTHORIZED, said)

    def about(self) -> dict[str, Any]:
        description: dict[str, Any] = {"kind": "kubeconfig", "file": str(self._path)}
        if self._chosen is not None:
            description |= {"context": self._chosen.context, "by": _by(self._chosen.user)}
        return description if self._renewed is None else description | self._renewed.about()

    async def close(self) -> None:
        if self._renewed is not None:
            await self._renewed.close()

    async def _read(self) -> Chosen:
        try:
            text = await asyncio.to_thread(reading.read, self._path, reading.DOCUMENT, links=True)
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

    try:  # JSON is YAML, unless it is indented by tabs
        tree = json.loads(text) if text.lstrip().startswith(b"{") else yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        raise _bad("it is neither YAML nor JSON") from None
    if not isinstance(tree, dict):
        raise _bad("it holds no kubeconfig")
    name = context or _worded(tree.get("current-context"), "current-context")
    if not name:
        raise _bad("it has no current-context: name one by api.context")
    entry = _named(tree, "contexts", "context", name)
    cluster = _named(tree, "clusters", "cluster", _worded(entry.get("cluster"), "cluster of the context"))
    user = _named(tree, "users", "user", _worded(entry.get("user"), "user of the context"))
    for kind, table in (("cluster", cluster), ("user", user)):
        if refused := [key for key in REFUSED[kind] if table.get(key)]:
            why = "; ".join(dict.fromkeys(REFUSED[kind][key] for key in refused))
            raise _bad(f"the {kind} of context {name!r} has {', '.join(refused)}, which is refused: {why}")
    chosen = Chosen(folder, name, cluster, user)
    if not chosen.server.startswith("https://"):
        raise _bad(f"the server of context {name!r} is not https")
    return chosen


def read_plugin(chosen: Chosen) -> Plugin:
    where = f"exec of context {chosen.context!r}"
    table = chosen.user["exec"]
    if not isinstance(table, dict):
        raise _bad(f"{where} is not a mapping")
    command, version = (_worded(table.get(key), f"{key} of {where}") for key in ("command", "apiVersion"))
    for key, value in (("command", command), ("apiVersion", version)):
        if not value:
            raise _bad(f"{where} names no {key}")
    if version not in VERSIONS:
        raise _bad(f"{where} is of {version!r}, not of {' or '.join(VERSIONS)}")
    if table.get("interactiveMode") == "Always":
        raise _bad(f"{where} needs a terminal (interactiveMode Always)")
    if "/" in command:
        command = str(chosen.folder / command)
    arguments = [_worded(word, f"a word of args of {where}") for word in _listed(table, "args", where)]
    cluster = _told(chosen) if table.get("provideClusterInfo") else None
    return Plugin(version, (command, *arguments), dict(_environment(table, where)), cluster)


def _environment(table: Mapping[str, Any], where: str) -> Iterator[tuple[str, str]]:
    for pair in _listed(table, "env", where):
        if not isinstance(pair, dict) or not pair.get("name"):
            raise _bad(f"env of {where} has an entry without a name")
        name = _worded(pair["name"], f"a name in env of {where}")
        if "=" in name:
            raise _bad(f"a name in env of {where} holds =")
        yield name, _worded(pair.get("value"), f"{name} in env of {where}")


def _listed(table: Mapping[str, Any], key: str, where: str) -> list[Any]:
    entries = table.get(key)
    if entries is not None and not isinstance(entries, list):
        raise _bad(f"{key} of {where} is not a list")
    return entries or []


def _told(chosen: Chosen) -> Mapping[str, Any]:
    authority = chosen.read(chosen.cluster, "certificate-authority", "CA certificate")
    cluster: dict[str, Any] = {"server": chosen.server}
    if authority:
        cluster["certificate-authority-data"] = base64.b64encode(authority).decode()
    if name := chosen.cluster.get("tls-server-name"):
        cluster["tls-server-name"] = name
    for entry in chosen.cluster.get("extensions") or ():
        if isinstance(entry, dict) and entry.get("name") == EXEC_EXTENSION:
            cluster["config"] = entry.get("extension")
    return cluster


def _token(chosen: Chosen) -> str:
    """As kubectl has it, the file goes before what stands inline."""
    if path := _worded(chosen.user.get("tokenFile"), "tokenFile"):
        token = text_files.text(contents(chosen.folder / path, "token")).strip()
    elif not (token := _worded(chosen.user.get("token"), "token").strip()):
        return ""
    if not is_token(token):
        raise _bad(f"the token of context {chosen.context!r} is none")
    return token


def _worded(value: object, what: str) -> str:
    """A text; "" for none. Whatever else YAML made of it, kubectl takes neither."""
    if value is not None and not isinstance(value, str):
        raise _bad(f"{what} is not text: put it in quotes")
    try:
        if b"\0" in (value or "").encode():
            raise _bad(f"{what} holds a NUL")
    except UnicodeEncodeError:
        raise _bad(f"{what} is no UTF-8 text") from None
    return value or ""


def _named(tree: Mapping[str, Any], plural: str, kind: str, name: str) -> Mapping[str, Any]:
    listed = tree.get(plural)
    for entry in listed if isinstance(listed, list) else ():
        if isinstance(entry, dict) and entry.get("name") == name and isinstance(entry.get(kind), dict):
            value: Mapping[str, Any] = entry[kind]
            return value
    raise _bad(f"it has no {kind} {name!r}")


def _by(user: Mapping[str, Any]) -> str:
    if "exec" in user:
        return "exec plug-in"
    return "token" if user.get("token") or user.get("tokenFile") else "certificate"


def _bad(cause: str) -> Trouble:
    return Trouble(Reason.API_KUBECONFIG_UNUSABLE, cause)
