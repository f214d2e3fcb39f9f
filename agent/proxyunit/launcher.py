"""Becomes linkerd2-proxy: what fairlead-proxy.service runs, as the proxy's own user and inside its sandbox.

    python -IS -m agent.proxyunit.launcher

An environment is code, so nobody but root has a say in it: it is built from root-owned files, and nothing of this
process's own environment is handed on. Exit codes are those of the proxy: 64 its configuration is refused, 1 it
cannot be set up; and those of a shell: 127 there is no binary, 126 it cannot be executed. The cause is left for
the agent, where the gate leaves its own.

Law: the standard library, `core`, `config`, `values`, and what the privileged helper reads root's files by.
"""

import errno
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from agent.config import derived
from agent.core import proxy, text_files
from agent.core.proxy import ProxySettings
from agent.core.reasons import Fault, Reason
from agent.privileged import Refusal
from agent.privileged.redirect import specification
from agent.privileged.system import files
from agent.proxyunit import starts

REFUSED, FAILED, NOT_EXECUTABLE, ABSENT = 64, 1, 126, 127


@dataclass(frozen=True)
class Launch:
    binary: str
    environment: Mapping[str, str]
    uid: int


def plan(prefix: Path, version: str = "") -> Launch:
    """What would be started now, or once that version is the current one. Raises Refusal, proxy.Refused, OSError,
    KeyError (no such user)."""
    config = specification.configuration(prefix)
    uid, _ = derived.proxy_owner(config)
    anchors = _anchors(derived.anchors_in_force(config, prefix), config.identity.anchors_follow)
    # Past the symlink: which version runs shall be plain to see.
    binary = os.path.realpath(derived.proxy_binary(config, str(prefix), version))
    return Launch(binary, proxy.environment(settings(prefix, version), anchors), uid)


def settings(prefix: Path, version: str = "") -> ProxySettings:
    """Those of that plan. Raises Refusal."""
    return derived.proxy_settings(specification.configuration(prefix), str(prefix), version)


def _anchors(places: Sequence[Path], follow: bool) -> str:
    """The first that is there: root's own, or the agent's where root has said that it counts. Raises Refusal."""
    found = next((path for path in places if path.exists()), places[-1])
    try:
        return text_files.armour(
            files.read_bytes(found) if found is places[-1] or not follow else found.read_bytes()
        )
    except Refusal as refusal:
        raise Refusal(refusal.detail, Reason.TRUST_ANCHORS_UNUSABLE) from None
    except OSError as error:
        raise Refusal(f"cannot read {found}: {error.strerror}", Reason.TRUST_ANCHORS_UNUSABLE) from None


def become(prefix: Path, folder: Path) -> int:
    try:
        found = plan(prefix)
        if os.getuid() != found.uid:
            cause = f"this is uid {os.getuid()}, and proxy.user is {found.uid}; set User= of the unit by a drop-in"
            return _say(folder, REFUSED, cause)
        starts.begin(folder)
        return _execute(found, folder)
    except (Refusal, proxy.Refused) as error:
        return _say(folder, REFUSED, str(error))
    except KeyError:
        return _say(folder, REFUSED, "proxy.user names nobody on this host")
    except OSError as error:
        return _say(folder, FAILED, f"{error.filename or ''}: {error.strerror}")


def _execute(found: Launch, folder: Path) -> int:
    """Returns only where it fails."""
    try:
        os.execve(found.binary, [found.binary], dict(found.environment))  # noqa: S606 - no shell is wanted
    except OSError as error:
        code = ABSENT if error.errno == errno.ENOENT else NOT_EXECUTABLE
        return _say(folder, code, f"{found.binary}: {error.strerror}")


_REASONS = {
    REFUSED: Reason.PROXY_CONFIGURATION_REFUSED,
    FAILED: Reason.PROXY_FAILED_TO_START,
    NOT_EXECUTABLE: Reason.PROXY_BINARY_UNUSABLE,
    ABSENT: Reason.PROXY_BINARY_UNUSABLE,
}


def _say(folder: Path, code: int, cause: str) -> int:
    print(f"cannot start the proxy: {cause}", file=sys.stderr, flush=True)
    starts.record(folder, Fault(_REASONS[code], cause))
    return code


def main(arguments: Sequence[str], prefix: Path = Path("/")) -> int:
    folder = Path(os.environ.get("RUNTIME_DIRECTORY", "/run/fairlead-proxy"))
    if not arguments:
        return become(prefix, folder)
    print("usage: python -m agent.proxyunit.launcher", file=sys.stderr)
    return REFUSED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
