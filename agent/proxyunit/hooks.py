"""What the proxy's unit runs as root, whether the agent runs or not.

    python -IS -m agent.proxyunit.hooks arm      after its start: waits for readiness, then the redirect is set
    python -IS -m agent.proxyunit.hooks failed   after its end, however it ended: the failure policy

Exit code: 0 done, 1 not done, 64 no such command line. The unit ignores a failure of `arm`: a redirect that is
refused must not stop the running proxy. Each request has one deadline, and so has the wait for a proxy: longer
than a control plane is away; then the agent sets the redirect.
"""

import os
import select
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from agent.core import failure
from agent.core.facts import Level
from agent.core.redirect import RedirectSpec
from agent.privileged import Answer, Refusal
from agent.privileged.proxy import readiness
from agent.privileged.redirect import handlers, host_rules, specification
from agent.privileged.system import configuration, deadline, listeners

# Seconds between two looks: a tenth of the time so far, which adds little to any wait.
_SOONEST, _LATEST = 0.01, 1.0
# Seconds that the policy controller has after the proxy is ready.
_ANSWER_WITHIN = 10.0
_READY_WITHIN = 3600.0
_WITHIN = 12.0  # for one request: until a helper that holds the lock has ended, and its own time


def main(arguments: Sequence[str], prefix: Path = Path("/")) -> int:
    os.umask(0o022)
    try:
        match arguments:
            case ["arm"]:
                return _arm(prefix, int(os.environ["MAINPID"]))
            case ["failed"]:
                with deadline.whole(_WITHIN):
                    _say(prefix, handlers.failed(prefix))
                return 0
    except Refusal as refusal:
        print(refusal.detail, file=sys.stderr)
        return 1
    except deadline.Late:
        print(f"cannot end within {_WITHIN:g} s", file=sys.stderr)
        return 1
    print("usage: python -m agent.proxyunit.hooks arm|failed", file=sys.stderr)
    return 64


def _say(prefix: Path, answer: Answer) -> None:
    """Into the journal: what is refused to whom, and until when."""
    ports = failure.to_ports(configuration.read(prefix).workload.ports)
    print(f"the proxy has ended: {failure.effect(Level(answer['inbound']), ports)}")
    if "untested" in answer:
        print(f"the rules were set without a test: {answer['untested']}", file=sys.stderr)


def _arm(prefix: Path, pid: int) -> int:
    with deadline.whole(_WITHIN):
        handlers.guard(prefix)
        if configuration.read(prefix).redirect.mode == "off":
            return 0
        spec = specification.spec(prefix)
    if not _wait(pid, lambda: _holds(spec), _READY_WITHIN):
        print("the proxy ended before it was ready, or is not ready yet", file=sys.stderr)
        return 1
    _request(prefix)
    # Outbound waits for the policy controller; a running agent sets it then.
    if listeners.outbound(spec) and _wait(
        pid, lambda: _holds(spec, specification.controller(prefix)), _ANSWER_WITHIN
    ):
        _request(prefix)
    return 0


def _request(prefix: Path) -> None:
    with deadline.whole(_WITHIN), host_rules.request(prefix):
        handlers.arm(prefix)


def _wait(pid: int, holds: Callable[[], bool], within: float) -> bool:
    """For as long; False when the process is gone. systemd waits for this program also after that."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    began = time.monotonic()
    while not holds():
        passed = time.monotonic() - began
        pause = min(max(passed / 10, _SOONEST), _LATEST)
        if passed > within or select.select([process], [], [], pause)[0]:
            return False
    return True


def _holds(spec: RedirectSpec, controller: str = "") -> bool:
    """It is ready; with `controller`, and the policy controller has answered it."""
    try:
        with deadline.whole(_WITHIN):
            answered = readiness.must_hold(spec, readiness.ask(), controller)
    except (Refusal, deadline.Late):
        return False
    return answered is True or not controller


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
