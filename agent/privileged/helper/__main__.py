"""python -m agent.privileged.helper [--prefix PREFIX]: one request on standard input, one answer on standard
output.

    {"verb": "redirect set", "inbound": "on", "outbound": "released"}
    {"ok": true, "inbound": "on", "outbound": "released"}
    {"ok": false, "reason": "RedirectForbidden", "detail": "cannot …: …"}

Behind a socket, standard input and output are the connection.
Exit code: 0 done, 1 refused with a reason, 64 no request (or no such command line).
"""

import gc
import json
import os
import socket
import stat
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from agent.core import text
from agent.core.reason import Reason
from agent.privileged import DEADLINE, Answer, Refusal
from agent.privileged.helper import caller
from agent.privileged.helper.request import LIMIT, BadRequest, parse
from agent.privileged.redirect import request_cache, watch
from agent.privileged.system import deadline

_SAY_WITHIN: Final = 0.5  # seconds beyond the request's own, in which the caller takes its answer


def main(arguments: Sequence[str]) -> int:
    match arguments:
        case []:
            prefix = Path("/")
        case ["--prefix", path] if path.startswith("/"):
            prefix = Path(path)
        case _:
            print("usage: python -m agent.privileged.helper [--prefix /PATH]", file=sys.stderr)
            return 64
    os.umask(0o022)
    return _serve(prefix)


def _serve(prefix: Path) -> int:
    failure, within = Reason.HELPER_REFUSED, DEADLINE
    began = time.monotonic()
    try:
        with deadline.whole(DEADLINE):
            line, passed = _received()
            request = parse(line)
        caller.must_be_allowed(request)
        failure, within = request.row.failure, request.row.deadline
        with deadline.whole(within - (time.monotonic() - began)):
            if request.row.act is None:
                answer = _watch(passed)
            else:
                with request_cache.request(prefix):
                    answer = request.carry_out(prefix)
    except BadRequest as error:
        return _say(64, ok=False, reason=failure, detail=f"cannot read the request: {error}")
    except Refusal as refusal:
        words = {"remedy": refusal.remedy} if refusal.remedy else {}
        return _say(1, ok=False, reason=refusal.reason or failure, detail=refusal.detail, **words)
    except Exception as error:  # a bug here; the caller gets an answer all the same
        import traceback  # with what it needs, for a bug alone

        traceback.print_exc(file=sys.stderr)
        return _say(1, ok=False, reason=failure, detail=f"cannot serve this: {type(error).__name__}: {error}")
    except deadline.Late:
        return _say(1, ok=False, reason=failure, detail=f"cannot end within {within:g} s")
    return _say(0, ok=True, **answer)


def _received() -> tuple[bytes, list[int]]:
    """One line, and the descriptor that came with it (SCM_RIGHTS)."""
    if not stat.S_ISSOCK(os.fstat(0).st_mode):
        return sys.stdin.buffer.readline(LIMIT + 1), []
    line, passed = b"", []
    with socket.socket(fileno=os.dup(0)) as connection:
        while not line.endswith(b"\n") and len(line) <= LIMIT:
            data, descriptors, _, _ = socket.recv_fds(connection, LIMIT + 1, 1, socket.MSG_CMSG_CLOEXEC)
            passed += descriptors
            if not data:
                break
            line += data
    return line, passed


def _watch(passed: list[int]) -> Answer:
    """Raises Refusal."""
    if len(passed) != 1:
        raise Refusal("cannot watch the rules: no socket came with the request")
    watch.subscribe(passed[0])
    return {}


def _say(code: int, **answer: object) -> int:
    """A caller that does not wait for its answer is ignored, and so is one that does not take it."""
    line = json.dumps(text.shown(answer)).encode() + b"\n"
    with suppress(BrokenPipeError, deadline.Late), deadline.whole(_SAY_WITHIN):
        while line:
            line = line[os.write(1, line) :]
    return code


if __name__ == "__main__":
    gc.disable()  # it ends sooner than garbage would be in the way
    sys.exit(main(sys.argv[1:]))
