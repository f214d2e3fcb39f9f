"""Installing, listing and removing versions of linkerd2-proxy, by root and without the agent."""

import asyncio
import contextlib
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from agent.adapters import files, spawn
from agent.core import releases
from agent.host import reading
from agent.offline import artefact
from agent.offline.artefact import Unusable
from agent.privileged import Refusal as Refusal
from agent.privileged.proxy import versions
from agent.privileged.proxy.versions import set_current as set_current
from agent.privileged.system import files as roots

TRY_WITHIN = 10.0  # seconds
REFUSES = 64  # how the proxy ends without an environment (docs/linkerd.md §1.5)
RECORD = "installed.json"

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Installed:
    """`sha256`: the binary's. `delivery`: the hash that was given at its installation."""

    version: str
    sha256: str = ""
    delivery: str = ""
    current: bool = False
    previous: bool = False
    warning: str = ""


def installed(prefix: Path) -> list[Installed]:
    """The oldest version first."""
    home = versions.folder(prefix)
    names = [p.name for p in home.iterdir() if re.fullmatch(versions.PATTERN, p.name)] if home.is_dir() else []
    return [_described(prefix, name) for name in sorted(names, key=releases.parse)]


def _described(prefix: Path, version: str) -> Installed:
    try:
        record = json.loads(reading.read(versions.folder(prefix) / version / RECORD, reading.RECORD))
    except (OSError, ValueError):  # put there manually
        record = {}
    return Installed(
        version,
        str(record.get("sha256", "")),
        str(record.get("delivery", "")),
        version == versions.linked(prefix, versions.CURRENT),
        version == versions.linked(prefix, versions.PREVIOUS),
        releases.warned(version),
    )


def install(
    prefix: Path, source: Path, digest: str, version: str, owner: tuple[int, int], dry_run: bool, tell: Tell
) -> Installed:
    """Raises Unusable, Refusal. `version`: as the operator states, "" to detect it. `owner`: uid and gid of the
    proxy's user. A version that is already installed and identical is left unchanged. The first version becomes
    current."""
    with _workplace(prefix) as place:
        binary = place / versions.BINARY
        taken = artefact.take(source, digest, binary)
        tell(f"the SHA-256 is {digest}")
        binary.chmod(0o755)
        reported = asyncio.run(_tried(binary, owner))
        tell("it starts as the proxy's user, and refuses an empty environment as expected")
        number = _version(version, reported, taken.version, tell)
        if reason := releases.refused(number):
            raise Unusable(f"version {number}: {reason}")
        sha256 = hashlib.sha256(binary.read_bytes()).hexdigest()
        files.write_atomically(place / RECORD, json.dumps({"sha256": sha256, "delivery": digest}) + "\n")
        if not dry_run:
            _put(prefix, place, number, sha256)
    if not dry_run and not versions.linked(prefix, versions.CURRENT):
        versions.set_current(prefix, number)
    return Installed(number, sha256, digest) if dry_run else _described(prefix, number)


@contextlib.contextmanager
def _workplace(prefix: Path) -> Iterator[Path]:
    """Beside the versions, so that one rename installs it; removed afterwards otherwise."""
    home = versions.folder(prefix)
    home.mkdir(mode=0o755, parents=True, exist_ok=True)
    place = home / f".new.{os.getpid()}"
    place.mkdir(mode=0o755)
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


async def _tried(binary: Path, owner: tuple[int, int]) -> str:
    """Its output. Only a binary whose hash was given is ever run, and never as root."""
    try:
        done = await spawn.run([str(binary)], within=TRY_WITHIN, environment={}, owner=owner)
    except spawn.SpawnError as error:
        raise Unusable(f"it cannot be run: {error}", "fetch the one for this machine and its C library") from None
    if done.code != REFUSES:
        remedy = "it is not linkerd2-proxy, or it needs a newer C library than this host has"
        raise Unusable(f"with an empty environment it must end with {REFUSES}: {done.explain()}", remedy)
    return (done.output + done.errors).decode(errors="replace")


def _version(requested: str, reported: str, delivered: str, tell: Tell) -> str:
    """The binary's own version first, then the delivery's; the operator's must not contradict it."""
    own = releases.in_build_line(reported)
    known = own or delivered
    if requested and known and requested != known:
        raise Unusable(f"it is version {known}, not {requested}", "leave out --version")
    if not (requested or known):
        raise Unusable("it does not report its version", "give it: --version 2.366.0")
    by = "itself" if own else "its delivery" if delivered else "--version"
    tell(f"it is version {requested or known}, by {by}")
    return requested or known


def _put(prefix: Path, place: Path, version: str, sha256: str) -> None:
    with roots.lock(prefix):
        home = versions.folder(prefix) / version
        if home.exists():
            there = hashlib.sha256((home / versions.BINARY).read_bytes()).hexdigest()
            if there != sha256:
                remedy = f"remove it first: fairlead proxy remove {version}"
                raise Unusable(f"another {version} is installed, with the SHA-256 {there}", remedy)
            return
        place.rename(home)
        roots.sync_folder(home.parent)


def remove(prefix: Path, version: str) -> None:
    """Raises Refusal. A version that does not exist counts as removed."""
    with roots.lock(prefix):
        if version == versions.linked(prefix, versions.CURRENT):
            raise Refusal(f"cannot remove the proxy {version}: it is the current one")
        home = versions.folder(prefix) / version
        if not re.fullmatch(versions.PATTERN, version) or not home.is_dir():
            return
        if version == versions.linked(prefix, versions.PREVIOUS):
            (versions.folder(prefix) / versions.PREVIOUS).unlink()
        shutil.rmtree(home)


def plain(one: Installed) -> dict[str, object]:
    return asdict(one)
