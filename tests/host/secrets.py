"""The secrets of a host, and every output and file of the program.

A new secret joins `secrets`, a new output joins OUTPUTS; the scenario `nothing_secret_is_said` looks for each
of the first in each of the second.
"""

import base64
import json
import sys
import tarfile
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

from agent.sandbox.api.server import RESOURCES
from agent.sandbox.api.store import Place
from agent.sandbox.identity.ca import Authority, SvidMaterial
from agent.sandbox.stage.scene import TOKEN, Scene

Look = Callable[[Scene], Awaitable[bytes]]
# The files of a host that may hold a secret: its administrator put it there.
ADMINISTRATORS = (
    "etc/fairlead/token",
    "etc/fairlead/kubeconfig",
    "etc/fairlead/login",
    "etc/fairlead/identity-token",
    # In memory, for the proxy alone: tests/offline/test_identity_gate.py and
    # tests/contract/test_identity_tokens.py.
    "run/fairlead-token/token",
    "run/fairlead-proxy/identity/key.p8",
)
# The contents of a kubeconfig, beside the token that its program gives.
PLANTED = ("planted-password", "planted-other-token", "planted-variable", "planted-complaint")


class Keys:
    """Every private key that an authority hands out from now on, in the forms in which it might show."""

    def __init__(self, authority: Authority) -> None:
        self._issue, self.issued = authority.svid, list[bytes]()
        authority.svid = self._recorded  # type: ignore[method-assign]

    def _recorded(self, *args: Any, **more: Any) -> SvidMaterial:
        made = self._issue(*args, **more)
        self.issued.append(made.key_pkcs8_der)
        return made


def secrets(keys: Keys) -> Iterator[tuple[str, bytes]]:
    """Name and bytes. Of a key the middle: its beginning is the same for every key of the kind."""
    yield "token", TOKEN.encode()
    yield "JWT", b"eyJhbGciOi"  # as every one with a signature begins
    yield from (("planted in the kubeconfig", word.encode()) for word in PLANTED)
    for der in keys.issued:
        core = der[36:68]  # the private number itself: PKCS #8 of an EC P-256 key has it there
        yield "private key", core
        yield "private key, base64", base64.b64encode(der)[48:88]
        yield "private key, hexadecimal", core.hex().encode()
        yield "private key, as Python shows bytes", repr(core)[2:-1].encode()


def _api_server(scene: Scene) -> bytes:
    """What was sent to it, and what stands there: conditions, Events, the Lease."""
    stored = [scene.api.store.find(Place(resource, "")) for resource in RESOURCES]
    sent = [(seen.method, seen.path, seen.query, seen.body) for seen in scene.api.requests]
    return json.dumps([stored, sent], default=str).encode()


def _files(scene: Scene) -> bytes:
    """All files below the host's prefix, names too, and any core file."""
    administrators = {scene.prefix / name for name in ADMINISTRATORS}
    found = [p for p in scene.prefix.rglob("*") if p.is_file() and p not in administrators]
    cores = [p for p in Path("/").glob("core*") if p.is_file()]
    return b"\n".join(str(p).encode() + b"\n" + p.read_bytes() for p in found + cores)


def _processes(scene: Scene) -> bytes:
    """Command line and environment of everything that runs on the host, as /proc shows them."""
    said = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command, environment = ((process / name).read_bytes() for name in ("cmdline", "environ"))
            own = b"fairlead/login" not in command  # what a kubeconfig gives its own program is that program's
            said += [command, environment if own else b""]
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue  # it ended a moment ago
    return b"\n".join(said)


def _log(scene: Scene) -> bytes:
    return scene.agent_log.read_bytes()


async def _socket(scene: Scene) -> bytes:
    return json.dumps(await scene.status()).encode()


def _look(read: Callable[[Scene], bytes]) -> Look:
    async def say(scene: Scene) -> bytes:
        return read(scene)

    return say


def _verb(*words: str) -> Look:
    async def say(scene: Scene) -> bytes:
        return (await scene.cli(*words))[1].encode()

    return say


async def _checked(scene: Scene) -> bytes:
    file = scene.prefix / "etc/fairlead/fairlead.toml"
    return (await scene.read_on_host(sys.executable, "-m", "agent", "check-config", str(file))).encode()


async def _support(scene: Scene) -> bytes:
    """Every file of the archive, and what the verb prints. The archive lies where no other output looks."""
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "archive.tar.gz"
        code, printed = await scene.cli("support", "--yes", "-o", str(archive))
        assert code == 0, printed
        with tarfile.open(archive) as tar:
            files = [file.read() for member in tar if (file := tar.extractfile(member)) is not None]
    return b"\n".join([printed.encode(), *files])


# name → what it says at this moment
OUTPUTS: dict[str, Look] = {
    "the agent's log": _look(_log),
    "the status socket": _socket,
    "the API server": _look(_api_server),
    "files on the host": _look(_files),
    "processes": _look(_processes),
    "fairlead status": _verb("status"),
    "fairlead status --json": _verb("status", "--json"),
    "fairlead plan": _verb("plan"),
    "fairlead redirect show": _verb("redirect", "show"),
    "fairlead check-config": _checked,
}
# What is looked at once for each credential, while the agent is dead: it takes some seconds.
COLLECTED: dict[str, Look] = {"fairlead support": _support}
