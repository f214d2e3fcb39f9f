"""The kernel's rules by the program nft: read, and replace in one transaction."""

import json
import os
import subprocess
from typing import Final

from agent.core.reasons import Reason
from agent.core.redirect import Ruleset, nft
from agent.privileged import Refusal

# Fixed places and a clean environment: whoever calls the door must not choose what root runs.
_PROGRAMS: Final = ("/usr/sbin/nft", "/sbin/nft", "/usr/bin/nft")
_ENVIRONMENT: Final = {"LC_ALL": "C", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}

_NOT_PERMITTED: Final = ("Operation not permitted", "Permission denied")
_NOT_THERE: Final = (
    "No such file or directory",
    "not supported",
    "Invalid argument",
    "Unable to initialize Netlink socket",
)


def read() -> Ruleset | None:
    """The live rules; None: there is no table. Raises Refusal."""
    done = _nft("list", "table", "inet", "fairlead")
    if done.returncode == 0:
        return nft.read(json.loads(done.stdout))
    if "No such file or directory" in done.stderr:
        return None
    raise _refusal("read the rules", done.stderr)


def replace(rules: Ruleset | None) -> None:
    """Put these rules in place of what is live, or nothing at all (None). Raises Refusal; then nothing changed."""
    done = _nft("-f", "-", input=json.dumps(nft.transaction(rules)))
    if done.returncode != 0:
        raise _refusal("set the rules", done.stderr)


def _nft(*arguments: str, input: str = "") -> subprocess.CompletedProcess[str]:
    program = next((path for path in _PROGRAMS if os.access(path, os.X_OK)), None)
    if program is None:
        detail = f"cannot find nft: no program at {' or '.join(_PROGRAMS)}"
        raise Refusal(detail, Reason.REDIRECT_UNSUPPORTED)
    return subprocess.run(
        [program, "-j", *arguments],
        input=input,
        capture_output=True,
        text=True,
        env=_ENVIRONMENT,
        cwd="/",
        check=False,
    )


def _refusal(verb: str, errors: str) -> Refusal:
    said = " ".join(line.strip() for line in errors.splitlines() if line.strip(" ^"))
    if any(words in errors for words in _NOT_PERMITTED):
        return Refusal(f"cannot {verb}: CAP_NET_ADMIN is missing ({said})", Reason.REDIRECT_FORBIDDEN)
    if any(words in errors for words in _NOT_THERE):
        needs = "nf_tables with nat, redirect, reject and connection tracking, for inet"
        detail = f"cannot {verb}: this kernel lacks a part of {needs} ({said})"
        return Refusal(detail, Reason.REDIRECT_UNSUPPORTED)
    return Refusal(f"cannot {verb}: {said or 'nft says nothing'}")
