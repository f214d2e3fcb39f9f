"""Which of the installed versions of linkerd2-proxy is started next: two symlinks beside the versions' folders.

Law: a version is a folder below PREFIX/var/lib/fairlead/proxy that root alone can write, named by a number and
nothing else. A link's target is read only for the version that it names.
"""

import re
import stat
from pathlib import Path
from typing import Final

from agent.host import Host
from agent.privileged import Refusal
from agent.privileged.system import files

BINARY: Final = "linkerd2-proxy"
CURRENT: Final = "current"
STANDBY: Final = "standby"  # what the second slot starts, while that is not the current one
PREVIOUS: Final = "previous"  # what `rollback` goes back to
PATTERN: Final = r"\d{1,4}\.\d{1,5}\.\d{1,5}"


def folder(prefix: Path) -> Path:
    return Host(prefix).proxy_versions


def linked(prefix: Path, link: str) -> str:
    """The version that a link names; "" where there is none."""
    try:
        name = (folder(prefix) / link).readlink().name
    except OSError:
        return ""
    return name if re.fullmatch(PATTERN, name) else ""


def set_current(prefix: Path, version: str) -> dict[str, object]:
    """Of both slots. Raises Refusal. Repeating it changes nothing."""
    with files.lock(prefix):
        must_be_installed(prefix, version)
        before = linked(prefix, CURRENT)
        if before != version:
            if before:
                link(prefix, PREVIOUS, before)
            link(prefix, CURRENT, version)
        _unlink_standby(prefix)
    return {"version": version}


def set_standby(prefix: Path, version: str) -> dict[str, object]:
    """Of the standby's next start; "": the current one. Raises Refusal."""
    with files.lock(prefix):
        if version:
            must_be_installed(prefix, version)
            link(prefix, STANDBY, version)
        else:
            _unlink_standby(prefix)
    return {"version": version}


def _unlink_standby(prefix: Path) -> None:
    if (folder(prefix) / STANDBY).is_symlink():
        files.remove(folder(prefix) / STANDBY)


def must_be_installed(prefix: Path, version: str) -> None:
    """Raises Refusal: the folder or the binary in it is not there, or not root's alone."""
    if not re.fullmatch(PATTERN, version):
        raise Refusal(f"cannot use the proxy {version!r}: it is not a version")
    home = folder(prefix) / version
    try:
        for path in (home.parent, home, home / BINARY):
            files.require_root_only(path, path.lstat())
        if not stat.S_ISDIR(home.lstat().st_mode) or not stat.S_ISREG((home / BINARY).lstat().st_mode):
            raise Refusal(f"cannot use the proxy {version}: {home} is not what was installed there")
    except OSError as error:
        raise Refusal(f"cannot use the proxy {version}: {error.filename}: {error.strerror}") from None


def link(prefix: Path, name: str, version: str) -> None:
    """Atomic: a process that follows the link finds the old or the new target. Under `files.lock` alone. Raises
    Refusal."""
    path = folder(prefix) / name
    fresh = path.with_name(f".{name}.new")
    try:
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(version)
        fresh.rename(path)
        files.sync_folder(path.parent)
    except OSError as error:
        raise Refusal(f"cannot link {path} to {version}: {error.strerror}") from None
