"""The state of a host as it is seen without the agent's answer: none is running, or this user may not ask it."""

from __future__ import annotations

import json
import sys
import time

from agent.cli.kit import formatting
from agent.cli.kit.exits import Exit, Failure, complain
from agent.cli.kit.formatting import Look, duration
from agent.host import AGENT

TYPE_CHECKING = False  # type checkers know this name; that of `typing` takes long to load
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from agent.offline.outside import Seen

NAME = 25  # columns of the longest name of a unit
WAY_IN = f"run it with sudo, or as a member of the group {AGENT}"
_SHOWN = (Exit.UNAVAILABLE, Exit.NOT_PERMITTED)


def from_outside(failure: Failure, prefix: str, *, as_json: bool) -> int:
    """Says why first, then what can be seen; returns the exit code. Raises the failure where it is another one."""
    if failure.code not in _SHOWN:
        raise failure
    import getpass

    remedy = way_in(getpass.getuser()) if failure.code is Exit.NOT_PERMITTED else failure.remedy
    complain(failure.message, remedy)
    sys.stderr.flush()
    from agent.host import secrecy
    from agent.offline import outside

    secrecy.no_core_files()

    seen = outside.look(prefix)
    if as_json:
        print(json.dumps(as_object(failure.message, remedy, seen), indent=2))
    else:
        print("\n".join(render(seen, formatting.of_terminal(time.time()))))
    return failure.code


def way_in(user: str) -> str:
    return f"allow it: sudo usermod -aG {AGENT} {user}, then log in again; or run it with sudo"


def as_object(cause: str, remedy: str, seen: Iterable[Seen]) -> dict[str, Any]:
    from agent.core.snapshot import SCHEMA

    lines = [{"what": one.what, "text": one.text, "source": one.source, "since": one.since} for one in seen]
    return {"schema": SCHEMA, "error": cause, "remedy": remedy, "seen": lines}


def render(seen: Iterable[Seen], look: Look) -> Iterator[str]:
    yield "seen from outside, without the agent:"
    for one in seen:
        age = f", for {duration(look.now - one.since)}" if one.since is not None else ""
        yield from look.wrapped(f"  {one.what:<{NAME}} {one.text}{age}  [{one.source}]", NAME + 3)
