"""The two slots of the proxy on a really booted systemd, with an unprivileged agent and a client that goes on."""

from __future__ import annotations

import contextlib
import json
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping

import pytest

from agent.cli.kit.follow import serves
from tests.contract.test_proxy_unit_agent import AGENT, BROKEN, NEXT, agent, is_on, runs, until
from tests.contract.unit_fixtures import clean_machine as clean_machine
from tests.contract.unit_fixtures import client_network as client_network
from tests.lab import netns, unit_machine
from tests.lab.machine import Machine
from tests.lab.proxy_neighbours import ADDRESS, PROXIED, RESET
from tests.lab.unit_machine import STANDBY, dial, levels, pid

pytestmark = pytest.mark.real

TAKEOVER = "fairlead-takeover.service"
CONFIG = "/etc/fairlead/fairlead.toml"
RECORD = "/var/lib/fairlead/agent/replacement.json"
CLIENTS = 4
# Each a few seconds after the one before, so that none counts as a crash of the one before.
TWENTY = (
    ("upgrade", NEXT),
    ("restart", NEXT),
    ("rollback", unit_machine.VERSION),
    *17 * [("restart", unit_machine.VERSION)],
)


@pytest.fixture(name="slots")
def with_slots(machine: Machine) -> Machine:
    """A host that has two slots from its first start on."""
    machine.write(CONFIG, machine.read(CONFIG).replace("[proxy]\n", "[proxy]\nslots = true\n"))
    return machine


@contextlib.contextmanager
def asking(client: netns.Namespace, address: str = ADDRESS) -> Iterator[Counter[str]]:
    """So many clients dial without a pause; what each got."""
    got: Counter[str] = Counter()
    over = threading.Event()

    def run() -> None:
        while not over.wait(0.05):
            got[dial(client, address)] += 1

    callers = [threading.Thread(target=run) for _ in range(CLIENTS)]
    for caller in callers:
        caller.start()
    try:
        yield got
    finally:
        over.set()
        for caller in callers:
            caller.join()


def slot_of(machine: Machine) -> str:
    listing = machine.run("nft", "list", "chain", "inet", "fairlead", "inbound")
    found = re.search(r"dnat ip6? to \[?(?:169\.254\.41\.|fdec:6392:6e0c::)([12])\]?:4143", listing)
    return {"1": "main", "2": "standby"}[found[1]] if found else "none"


def at_rest(machine: Machine) -> Callable[[], bool]:
    """Main serves, and no second proxy runs."""
    over = ("inactive", "failed")  # how the last one ended says nothing of now
    return lambda: slot_of(machine) == "main" and machine.show(STANDBY, "ActiveState")["ActiveState"] in over


def serving(machine: Machine) -> None:
    machine.systemctl("start", "cluster")
    is_on(machine)
    until(machine, serves, "it serves")
    machine.wait_until(lambda: slot_of(machine) == "main", "main serves")  # a standby may be ready before


def test_twenty_replacements_in_a_row_fail_no_request(slots: Machine, client: netns.Namespace) -> None:
    serving(slots)
    unit_machine.stand_in(slots, NEXT)
    first = pid(slots)
    with asking(client) as got:
        for words, version in TWENTY:
            arguments = [version] if words == "upgrade" else []
            slots.run("fairlead", "proxy", words, *arguments, within=180)
            assert runs(slots) == version
            slots.wait_until(at_rest(slots), "main serves alone")
            assert levels(slots) == ("on", "on")
    assert set(got) == {PROXIED}
    assert pid(slots) != first


def test_a_version_that_crashes_touches_nothing(slots: Machine, client: netns.Namespace) -> None:
    serving(slots)
    unit_machine.program(slots, "#!/bin/sh\nexit 64\n", BROKEN)
    first = pid(slots)
    with asking(client) as got:
        refused = slots.try_run("fairlead", "proxy", "upgrade", BROKEN, within=180)
        assert refused.returncode != 0
        slots.wait_until(at_rest(slots), "main serves alone")
    assert pid(slots) == first
    assert set(got) == {PROXIED}


def test_a_standby_takes_over_when_the_proxy_is_killed(slots: Machine, client: netns.Namespace) -> None:
    """With the agent and without it; then main serves again, or the standby as long as no agent is there."""
    slots.write(CONFIG, slots.read(CONFIG).replace("slots = true\n", "slots = true\nstandby = true\n"))
    serving(slots)
    slots.wait_until(lambda: stands_by(slots), "the second slot is proved ready")
    said = slots.journal(AGENT)
    killed(slots, client, "main")
    assert "Not ready" not in slots.journal(AGENT).removeprefix(said)
    slots.wait_until(lambda: stands_by(slots), "the second slot is proved ready")
    slots.systemctl("stop", AGENT)
    killed(slots, client, "standby")


def killed(machine: Machine, client: netns.Namespace, named: str, address: str = ADDRESS) -> None:
    """The proxy is killed while clients dial; in the end this slot is named."""
    machine.wait_until(lambda: slot_of(machine) == "main", "main serves")
    before = pid(machine)
    machine.wait_until(lambda: awaited(machine, before), "the takeover waits for main")
    with asking(client, address) as got:
        machine.kill(before)
        machine.wait_until(lambda: pid(machine) not in (0, before), "systemd has started it again")
        machine.wait_until(lambda: "go to the second slot" in machine.journal(TAKEOVER), "it has taken over")
        machine.wait_until(lambda: slot_of(machine) == named, f"{named} is named")
    assert set(got) <= {PROXIED, RESET}
    assert got[RESET] <= CLIENTS, "what the proxy that died had accepted, and nothing that came later"
    assert levels(machine) == ("on", "on")


def stands_by(machine: Machine) -> bool:
    """It is proved ready, by the agent, and the takeover runs."""
    status = json.loads(machine.try_run("fairlead", "status", "--json").stdout or "{}")
    standby = status.get("facts", {}).get("standby", "unknown")
    ready = standby != "unknown" and standby["state"] == "ready"
    running = all(machine.show(one, "ActiveState")["ActiveState"] == "active" for one in (STANDBY, TAKEOVER))
    return ready and running and machine.path("/run/fairlead-prepared/standby.json").exists()


def awaited(machine: Machine, process: int) -> bool:
    """The takeover holds a pidfd of it."""
    found = machine.show(TAKEOVER, "MainPID")["MainPID"]
    return f"Pid:\t{process}\n" in machine.try_run("sh", "-c", f"cat /proc/{found}/fdinfo/*").stdout


# interrupted -----------------------------------------------------------------------------------------


def stage(machine: Machine) -> str:
    """Of the replacement; "": there was none."""
    path = machine.path(RECORD)
    return str(json.loads(path.read_text())["stage"]) if path.exists() else ""


def replace(machine: Machine, *words: str, at: Mapping[str, Callable[[], object]]) -> None:
    """The whole of it, to its end; in each of these stages this happens once."""
    machine.run("fairlead", "proxy", *words, "--no-wait")
    left = dict(at)

    def over() -> bool:
        now = stage(machine)
        left.pop(now, lambda: None)()
        return now in ("done", "back-again", "failed")

    machine.wait_until(over, "it has ended", within=180)
    assert not left, "each stage was seen"


def test_the_agent_is_killed_in_each_stage_and_no_request_fails(slots: Machine, client: netns.Namespace) -> None:
    serving(slots)
    unit_machine.stand_in(slots, NEXT)

    def killed() -> None:
        slots.kill(agent(slots))

    with asking(client) as got:
        replace(slots, "upgrade", NEXT, at=dict.fromkeys(("covering", "leaving", "starting"), killed))
        slots.wait_until(at_rest(slots), "main serves alone", within=180)
    assert (stage(slots), runs(slots), levels(slots)) == ("done", NEXT, ("on", "on"))
    assert set(got) == {PROXIED}


def test_the_rules_are_flushed_and_the_second_proxy_is_killed_meanwhile(slots: Machine) -> None:
    """It ends, and main serves."""
    serving(slots)

    def flushed() -> None:
        slots.run("nft", "flush", "ruleset")

    def killed() -> None:
        slots.kill(int(slots.show(STANDBY, "MainPID")["MainPID"]))

    replace(slots, "restart", at={"leaving": flushed, "starting": killed})
    slots.wait_until(at_rest(slots), "main serves alone", within=180)
    until(slots, serves, "it serves")
    assert (stage(slots), levels(slots)) == ("done", ("on", "on"))
