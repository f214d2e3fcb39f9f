"""What the proxy's unit does as root, whether the agent runs or not: the tested path, which `arm` and `ended` take
where nothing prepared holds.

    python -IS -m agent.proxyunit.hooks arm      after its start: waits for readiness, then the redirect is set
    python -IS -m agent.proxyunit.hooks failed   after its end, however it ended: the failure policy
    python -IS -m agent.proxyunit.hooks standby-ended   after the end of the second slot's proxy

While the redirect names the second slot, the first two set no rules: what happens to main reaches no new
connection.

Exit code: 0 done, 1 not done, 64 no such command line. The unit ignores a failure of `arm`: a redirect that is
refused must not stop the running proxy. Each request has one deadline, and so has the wait for a proxy: longer
than a control plane is away; then the agent sets the redirect.
"""

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from agent.config import slotted
from agent.core import failure
from agent.core.facts import Level
from agent.core.slots import Slot
from agent.privileged import Answer, Refusal
from agent.privileged.redirect import handlers, records, request_cache, specification
from agent.privileged.system import configuration, deadline, listeners
from agent.proxyunit import proof


def main(arguments: Sequence[str], prefix: Path = Path("/")) -> int:
    os.umask(0o022)
    try:
        match arguments:
            case ["arm"] if records.active_slot(prefix) is not Slot.MAIN:
                return _note(prefix, int(os.environ["MAINPID"]))
            case ["failed"] if records.active_slot(prefix) is not Slot.MAIN:
                return 0
            case ["standby-ended"]:
                return _standby_ended(prefix)
            case ["arm"]:
                return _arm(prefix, int(os.environ["MAINPID"]))
            case ["failed"]:
                with deadline.whole(proof.WITHIN):
                    _say(prefix, handlers.failed(prefix))
                return 0
    except Refusal as refusal:
        print(refusal.detail, file=sys.stderr)
        return 1
    except deadline.Late:
        print(f"cannot end within {proof.WITHIN:g} s", file=sys.stderr)
        return 1
    print("usage: python -m agent.proxyunit.hooks arm|failed", file=sys.stderr)
    return 64


def _note(prefix: Path, pid: int) -> int:
    """Record the process of main once it is proved ready, for the takeover; the agent turns the redirect to it."""
    spec = specification.spec(prefix)
    main = specification.named(spec, slotted.place(configuration.read(prefix), Slot.MAIN))
    if not proof.ready(pid, main):
        return 1
    proof.record(str(prefix), pid, time.monotonic())
    return 0


def _standby_ended(prefix: Path) -> int:
    """If it served: main serves again where it is proved ready, else the failure policy applies to main."""
    if records.active_slot(prefix) is Slot.MAIN:
        return 0
    from agent.privileged.redirect import turning  # the failure policy of main does not wait for it

    try:
        with deadline.whole(proof.WITHIN):
            turning.turn(prefix, Slot.MAIN.value)
        return 0
    except Refusal:
        with deadline.whole(proof.WITHIN):
            turning.give_up(prefix)
            _say(prefix, handlers.failed(prefix))
        return 0


def _say(prefix: Path, answer: Answer) -> None:
    """Into the journal: what is refused to whom, and until when."""
    ports = failure.to_ports(configuration.read(prefix).workload.ports)
    print(f"the proxy has ended: {failure.effect(Level(answer['inbound']), ports)}")
    if "untested" in answer:
        print(f"the rules were set without a test: {answer['untested']}", file=sys.stderr)


def _arm(prefix: Path, pid: int) -> int:
    with deadline.whole(proof.WITHIN):
        handlers.guard(prefix)
        if configuration.read(prefix).redirect.mode == "off":
            return 0
        spec = specification.spec(prefix)
    if not proof.ready(pid, spec):
        print("the proxy ended before it was ready, or is not ready yet", file=sys.stderr)
        return 1
    _request(prefix, pid)
    # Outbound waits for the policy controller; a running agent sets it then.
    if listeners.outbound(spec) and proof.answered(pid, spec, specification.controller(prefix)):
        _request(prefix, pid)
    return 0


def _request(prefix: Path, pid: int) -> None:
    now = time.monotonic()
    with deadline.whole(proof.WITHIN), request_cache.request(prefix):
        answer = handlers.arm(prefix)
    if answer["inbound"] == Level.ON.value:
        proof.record(str(prefix), pid, now)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
