"""The agent's side of the door to root: one request, one answer.

The door is spawned. Who asks it and what it answers stays the same when it stands behind a socket.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from agent.adapters import spawn
from agent.core.reasons import Reason
from agent.ports import Trouble

WITHIN = 4.5  # seconds; every fact has a first value within 5 s of the start

# -S: the door needs the bare interpreter alone, and starts sooner without a look at site-packages. -P: and
# nothing from the current directory.
PROGRAM = (sys.executable, "-S", "-P", "-m", "agent.privileged")
_ENVIRONMENT = {**spawn.ENVIRONMENT, "PYTHONPATH": str(Path(__file__).parents[2])}


class Door:
    """`prefix`: below which the host's files lie. `program`: the door's command line."""

    def __init__(self, prefix: str, program: Sequence[str] = PROGRAM) -> None:
        self._command = [*program, "--prefix", prefix]

    async def ask(self, verb: str, failure: Reason, **words: str) -> Mapping[str, str]:
        """The words of the answer. Raises Trouble: the door's reason or, without one, `failure`."""
        request = json.dumps({"verb": verb, **words}).encode() + b"\n"
        try:
            done = await spawn.run(self._command, input=request, within=WITHIN, environment=_ENVIRONMENT)
        except spawn.SpawnError as error:
            raise Trouble(failure, str(error)) from None
        match _decoded(done.output):
            case {"ok": True, **answer}:
                return {str(key): str(value) for key, value in answer.items()}
            case {"ok": False, "reason": str(reason), "detail": str(detail)}:
                raise Trouble(Reason(reason) if reason in set(Reason) else failure, detail)
        raise Trouble(failure, f"no answer from {done.explain()}")


def _decoded(output: bytes) -> object:
    try:
        return json.loads(output)
    except ValueError:
        return None
