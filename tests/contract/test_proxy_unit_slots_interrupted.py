"""What may happen in the middle of a replacement without a drain, on a really booted systemd; a client goes on."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from agent.cli.kit.follow import serves
from tests.contract.test_proxy_unit_agent import AGENT, BROKEN, NEXT, enabled, rules, runs, until
from tests.contract.test_proxy_unit_slots import CONFIG, asking, at_rest, serving, slot_of, stage, stands_by
from tests.contract.test_proxy_unit_slots import with_slots as with_slots
from tests.contract.unit_fixtures import clean_machine as clean_machine
from tests.contract.unit_fixtures import client_network as client_network
from tests.lab import installed, netns, unit_machine
from tests.lab.machine import Machine
from tests.lab.proxy_neighbours import ADDRESS, DIRECT, PROXIED, RESET
from tests.lab.unit_machine import PROXY, STANDBY, VERSION, levels, pid

__all__ = ["enabled"]

pytestmark = pytest.mark.real

STAGES = ("preparing", "covering", "leaving", "starting")
HELPER = "fairlead-helper.socket"
_MODE, _LOST = "/run/helper-is", "/run/helper-lost"
# Killed before it has done anything, or before it could answer.
_KILLED = f"""\
#!/bin/sh
case "$(cat {_MODE})" in
before) ;;
after) {installed.PYTHON} -IS -m agent.privileged.helper --prefix / >/dev/null ;;
*) exec {installed.PYTHON} -IS -m agent.privileged.helper --prefix / ;;
esac
echo lost >> {_LOST}
kill -9 $$
"""


@pytest.fixture
def mortal(slots: Machine) -> Iterator[Machine]:
    """Its privileged helper can be killed at each request."""
    drop_in = "/run/systemd/system/fairlead-helper@.service.d/mortal.conf"
    slots.write("/usr/local/bin/mortal-helper", _KILLED, 0o755)
    slots.write(drop_in, "[Service]\nExecStart=\nExecStart=/usr/local/bin/mortal-helper\n")
    slots.write(_MODE, "well\n")
    slots.systemctl("daemon-reload")
    yield slots
    slots.path(drop_in).unlink()
    slots.systemctl("daemon-reload")


def replace(machine: Machine, *words: str, at: Callable[[str], object]) -> str:
    """The whole of it; the stage in which it ended. In each stage `at` is called, once."""
    machine.run("fairlead", "proxy", *words, "--no-wait")
    seen: list[str] = []

    def over() -> bool:
        now = stage(machine)
        if now not in seen:
            seen.append(now)
            at(now)
        return now in ("done", "back-again", "failed")

    machine.wait_until(over, "it has ended", within=180)
    return seen[-1]


def rests(machine: Machine, version: str = VERSION) -> None:
    """Main serves alone, with this version."""
    machine.wait_until(at_rest(machine), "main serves alone", within=180)
    until(machine, serves, "it serves")
    assert (runs(machine), levels(machine)) == (version, ("on", "on"))


# the privileged helper -------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["before", "after"])
def test_the_privileged_helper_is_killed_in_each_stage(
    mortal: Machine, client: netns.Namespace, mode: str
) -> None:
    serving(mortal)
    unit_machine.stand_in(mortal, NEXT)

    def killed(at: str) -> None:
        if at in STAGES:
            mortal.write(_LOST, "")
            mortal.write(_MODE, f"{mode}\n")
            mortal.wait_until(lambda: mortal.read(_LOST) != "", "a request is not answered")
            mortal.write(_MODE, "well\n")

    with asking(client) as got:
        assert replace(mortal, "upgrade", NEXT, at=killed) == "done"
        rests(mortal, NEXT)
    assert set(got) == {PROXIED}


def test_the_privileged_helper_is_away_in_each_stage(slots: Machine, client: netns.Namespace) -> None:
    serving(slots)

    def asked_in_vain() -> bool:
        return "cannot reach the privileged helper" in slots.try_run("fairlead", "status", "--json").stdout

    def away(at: str) -> None:
        if at in STAGES[1:]:
            slots.systemctl("stop", HELPER)
            slots.wait_until(asked_in_vain, "the agent has asked in vain")
            slots.systemctl("start", HELPER)

    with asking(client) as got:
        assert replace(slots, "restart", at=away) == "done"
        rests(slots)
    assert set(got) == {PROXIED}


# the proxies -----------------------------------------------------------------------------------------


def process(machine: Machine, unit: str) -> int:
    """0: none runs. A start that waits is one."""
    return int(machine.show(unit, "MainPID")["MainPID"])


def serving_process(machine: Machine) -> int:
    return process(machine, PROXY if slot_of(machine) == "main" else STANDBY)


def test_the_proxy_that_does_not_serve_is_killed_in_each_stage(slots: Machine, client: netns.Namespace) -> None:
    serving(slots)

    def killed(at: str) -> None:
        if at in STAGES[1:]:
            other = STANDBY if slot_of(slots) == "main" else PROXY
            slots.wait_until(lambda: process(slots, other) != 0, "it runs")
            slots.kill(process(slots, other))

    with asking(client) as got:
        assert replace(slots, "restart", at=killed) == "done"
        rests(slots)
    assert set(got) == {PROXIED}


def test_the_proxy_that_serves_is_killed_in_each_stage(slots: Machine, client: netns.Namespace) -> None:
    """Nobody gets past it, and another serves. One that has ended once it served is not trusted with more."""
    serving(slots)
    left = list(STAGES[:3])

    def killed(at: str) -> None:
        if at in left:
            left.remove(at)
            slots.wait_until(lambda: serving_process(slots) != 0, "the slot that is named has a proxy")
            slots.kill(serving_process(slots))

    with asking(client) as got:
        assert replace(slots, "restart", at=killed) == "back-again"
        rests(slots)
    assert set(got) <= {PROXIED, RESET}


def test_a_standby_and_both_proxies_are_killed(slots: Machine, client: netns.Namespace) -> None:
    slots.write(CONFIG, slots.read(CONFIG).replace("slots = true\n", "slots = true\nstandby = true\n"))
    serving(slots)
    slots.wait_until(lambda: stands_by(slots), "the second slot is proved ready")
    with asking(client) as got:
        first = process(slots, STANDBY)
        slots.kill(first)
        slots.wait_until(lambda: process(slots, STANDBY) not in (0, first), "systemd has started it again")
        slots.wait_until(lambda: stands_by(slots), "the second slot is proved ready")
    assert set(got) == {PROXIED}
    for agent in (True, False):
        if not agent:
            slots.systemctl("stop", AGENT)
        before = pid(slots)
        with asking(client) as got:
            slots.run("kill", "-9", str(before), str(process(slots, STANDBY)))
            slots.wait_until(partial(runs_again, slots, before), "systemd has started it again")
            slots.wait_until(lambda: levels(slots) == ("on", "on"), "the redirect is on")
        assert set(got) <= {PROXIED, RESET}
        if agent:
            slots.wait_until(lambda: slot_of(slots) == "main" and stands_by(slots), "the second slot is ready")


def runs_again(machine: Machine, before: int) -> bool:
    return pid(machine) not in (0, before)


# the version -----------------------------------------------------------------------------------------


def dies(machine: Machine, version: str, when: str) -> None:
    """Of a proxy of this version."""
    unit_machine.stand_in(machine, version)
    path = f"/var/lib/fairlead/proxy/{version}/linkerd2-proxy"
    text = machine.read(path)
    machine.write(path, text.replace("import os, sys\n", f"import os, sys, threading, time\n{when}"), 0o755)


_IN_MAIN = """\
if os.environ.get("LINKERD2_PROXY_INBOUND_LISTEN_ADDR", "").startswith("169.254.41.1:"):
    sys.exit(3)
"""
_SOON_AFTER_A_CLIENT = """\
import socket
accept = socket.socket.accept
def accepted(self):
    connection = accept(self)
    if self.getsockname()[1] == 4143:
        threading.Timer(0.2, os._exit, (3,)).start()
    return connection
socket.socket.accept = accepted
"""


def test_versions_that_do_not_work(slots: Machine, client: netns.Namespace) -> None:
    """Never ready: nothing is touched. One that ends in main: the second covers the way back."""
    slots.write(CONFIG, slots.read(CONFIG).replace("slots = true\n", "slots = true\nready_within = 5\n"))
    serving(slots)
    first = pid(slots)
    unit_machine.stand_in(slots, NEXT, STANDIN_UNREADY="1")
    dies(slots, BROKEN, _IN_MAIN)
    with asking(client) as got:
        tried = slots.try_run("fairlead", "proxy", "upgrade", NEXT, within=180)
        assert (tried.returncode, pid(slots)) == (1, first)
        assert f"{NEXT} did not become ready: " in tried.stderr and f"{VERSION} serves again" in tried.stderr
        rests(slots)
        slots.write(CONFIG, slots.read(CONFIG).replace("ready_within = 5\n", "ready_within = 60\n"))
        slots.run("fairlead", "reload")
        tried = slots.try_run("fairlead", "proxy", "upgrade", BROKEN, within=180)
        assert tried.returncode == 1 and f"{BROKEN} did not become ready: " in tried.stderr, tried
        assert f"{VERSION} serves again" in tried.stderr
        rests(slots)
        assert pid(slots) != first
    assert set(got) == {PROXIED}


def test_a_version_that_ends_once_it_serves_is_given_up(slots: Machine, client: netns.Namespace) -> None:
    serving(slots)
    dies(slots, BROKEN, _SOON_AFTER_A_CLIENT)
    with asking(client) as got:
        tried = slots.try_run("fairlead", "proxy", "upgrade", BROKEN, within=180)
        assert tried.returncode == 1 and f"{VERSION} serves again" in tried.stderr, tried
        rests(slots)
    assert set(got) <= {PROXIED, RESET}


# a trial, and a suspension ---------------------------------------------------------------------------


# It greets, and repeats each line.
_SSH = """\
import socketserver
class Session(socketserver.StreamRequestHandler):
    def handle(self):
        self.wfile.write(b"SSH-2.0-stand-in\\n")
        self.wfile.writelines(self.rfile)
socketserver.ThreadingTCPServer(("0.0.0.0", 22), Session).serve_forever()
"""


@contextlib.contextmanager
def session(machine: Machine, client: netns.Namespace) -> Iterator[None]:
    """Of SSH, with a client elsewhere: it is open throughout."""
    machine.run("systemd-run", "--unit=sessions", installed.PYTHON, "-IS", "-c", _SSH)
    machine.wait_until(lambda: ":0016 " in machine.run("cat", "/proc/net/tcp"), "it listens")
    with client.inside(lambda: socket.create_connection((ADDRESS, 22), timeout=60)) as opened:
        lines = opened.makefile("rwb", buffering=0)
        assert lines.readline().startswith(b"SSH-2.0")
        yield
        lines.write(b"still here\n")
        assert lines.readline() == b"still here\n"
    machine.systemctl("stop", "sessions")


def shown(machine: Machine) -> tuple[bool, bool]:
    """The redirect is on trial, and it is suspended."""
    said = json.loads(machine.run("fairlead", "redirect", "show", "--json"))
    return bool(said["trial"]), bool(said["suspended"])


def test_a_trial_and_a_suspension_are_running(slots: Machine, client: netns.Namespace) -> None:
    """They go on, by the rules of whichever proxy serves, and so does a session of SSH."""
    serving(slots)
    text = slots.read(CONFIG)
    edited = text.replace('"198.51.100.0/24"', '"198.51.100.0/24", "203.0.113.0/24"')
    assert edited != text
    slots.write(CONFIG, edited)

    def tried(at: str) -> None:
        if at == "covering":
            slots.run("fairlead", "redirect", "apply", "--confirm", "5s")

    with session(slots, client), asking(client) as got:
        slots.run("fairlead", "redirect", "apply", "--confirm", "600s")
        assert replace(slots, "restart", at=lambda _: None) == "done"
        slots.wait_until(at_rest(slots), "main serves alone")
        assert shown(slots)[0] and "203.0.113.0" in rules(slots)
        slots.run("fairlead", "redirect", "revert")
        assert replace(slots, "restart", at=tried) == "done"
        slots.wait_until(lambda: shown(slots) == (False, True), "the trial has expired")
        slots.wait_until(at_rest(slots), "main serves alone")
        assert levels(slots) == ("on", "on")
        slots.write(CONFIG, text)
        assert replace(slots, "restart", at=lambda _: None) == "done"
        slots.wait_until(at_rest(slots), "main serves alone")
        assert shown(slots) == (False, True)
        slots.run("fairlead", "redirect", "apply")
        rests(slots)
    assert set(got) == {PROXIED}


# a reboot --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", [False, True], ids=["reboot", "power cut"])
def test_the_machine_reboots_in_the_middle(
    enabled: Machine, slots: Machine, client: netns.Namespace, cut: bool
) -> None:
    """In one stage of an upgrade before the turn, and in one after it; each ends on the next boot."""
    serving(slots)
    unit_machine.stand_in(slots, NEXT)
    left = ["covering", "starting"] if cut else ["preparing", "leaving"]

    def rebooted(at: str) -> None:
        if at not in left:
            return
        left.remove(at)
        if cut:
            slots.cut_power()
            slots.boot()
        else:
            slots.reboot()
        slots.systemctl("start", "workload-api", "cluster")
        slots.wait_for(AGENT)

    with asking(client) as got:
        assert replace(slots, "upgrade", NEXT, at=rebooted) == "done"
        rests(slots, NEXT)
    assert left == [] and DIRECT not in got
    there = slots.run("ip", "-o", "-4", "address", "show", "dev", "lo")
    assert "169.254.41.1/" in there and "169.254.41.2/" in there
    assert not slots.path("/var/lib/fairlead/proxy/standby").is_symlink()
    assert not slots.path("/run/fairlead-slot").exists()


# turned on and off -----------------------------------------------------------------------------------


def test_slots_are_turned_on_and_given_up_as_documented(machine: Machine, client: netns.Namespace) -> None:
    machine.systemctl("start", "cluster", AGENT)
    until(machine, serves, "it serves")
    text = machine.read(CONFIG)
    with asking(client) as got:
        machine.write(CONFIG, text.replace("[proxy]\n", "[proxy]\nslots = true\n"))
        machine.run("fairlead", "redirect", "apply")
    assert set(got) == {PROXIED}
    with asking(client) as got:
        machine.run("fairlead", "reload", "--restart-proxy", within=180)
        until(machine, serves, "it serves")
    assert set(got) <= {PROXIED, RESET}, "this one drains"
    with asking(client) as got:
        assert "without a drain" in machine.run("fairlead", "doctor", "replacement")
        machine.run("fairlead", "proxy", "restart", within=180)
        rests(machine)
        machine.write(CONFIG, text)
        refused = machine.try_run("fairlead", "redirect", "apply")
        assert refused.returncode == 1 and "fairlead reload --restart-proxy" in refused.stderr
    assert set(got) == {PROXIED}
    with asking(client) as got:
        machine.run("fairlead", "reload", "--restart-proxy", within=180)
        until(machine, serves, "it serves")
    assert set(got) <= {PROXIED, RESET}, "and this one"
    with asking(client) as got:
        machine.run("fairlead", "redirect", "apply")
        until(machine, serves, "it serves")
    assert set(got) == {PROXIED}
    assert slot_of(machine) == "none"
