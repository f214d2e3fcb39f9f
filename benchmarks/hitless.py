"""How many requests fail, and how long none is served, when a proxy is replaced and when it dies: with one slot,
with two, with a standby, and with a plain unit of systemd's. python -m benchmarks.hitless [EVENTS] (root)

All on one booted Debian that serves alone, one after the other, with 50 requests a second from beside it, each
over a connection of its own and none of them repeated: a client that is less patient than any in a mesh. "nothing
happens" is what this machine does to such a client meanwhile. Each death is the first in a row.
LINKERD2_PROXY=FILE puts a real linkerd2-proxy in the place of the stand-in, which takes longer to start.
"""

import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

from benchmarks import restart
from benchmarks.restart import AGENT, EVERY, PLAIN, Load, first_in_a_row, serving
from tests.lab import netns, unit_machine
from tests.lab.machine import Machine
from tests.lab.unit_machine import PROXY, STANDBY

EVENTS = 10
QUIET = 10.0  # seconds of "nothing happens"
_LOOKS = 3.0  # seconds: the takeover looks for main every 2 s
_CONFIG, _SLOT, _PREPARED = (
    "/etc/fairlead/fairlead.toml",
    "/run/fairlead-slot",
    "/run/fairlead-prepared/standby.json",
)
_TWO = "[proxy]\nslots = true\nready_within = 20\n"


@dataclass(frozen=True)
class Event:
    """`gap`: seconds in which no answer came."""

    failed: int
    sent: int
    gap: float


def event(client: netns.Namespace, happen: Callable[[], object]) -> Event:
    """`happen` returns when the host is at rest again."""
    load = Load(client)
    with load.coming():
        time.sleep(0.5)
        happen()
        time.sleep(0.5)
    ended = sorted(at for _, at, by_proxy, _ in load.answers if by_proxy)
    failed = sum(not by_proxy for _, _, by_proxy, _ in load.answers)
    return Event(failed, len(load.answers), max(after - before for before, after in pairwise(ended)))


# what happens --------------------------------------------------------------------------------------


def replaced(machine: Machine, client: netns.Namespace) -> None:
    machine.run("fairlead", "proxy", "restart", within=180)
    machine.wait_until(partial(alone, machine), "the proxy of main serves alone", 120)
    serving(client)


def dies(machine: Machine, client: netns.Namespace) -> None:
    before = unit_machine.pid(machine)
    machine.kill(before)
    machine.wait_until(lambda: unit_machine.pid(machine) not in (0, before), "systemd has started it again", 120)
    machine.wait_for(PROXY)
    serving(client)


def dies_with_a_standby(machine: Machine, client: netns.Namespace) -> None:
    dies(machine, client)
    machine.wait_until(lambda: not machine.path(_SLOT).exists(), "main serves again", 120)


def alone(machine: Machine) -> bool:
    standby = machine.show(STANDBY, "ActiveState")["ActiveState"]
    return standby in ("inactive", "failed") and not machine.path(_SLOT).exists()


def stands_by(machine: Machine) -> None:
    """Before a death; then the takeover has seen main, too."""
    first_in_a_row(machine)

    def ready() -> bool:
        active = machine.show(STANDBY, "ActiveState")["ActiveState"] == "active"
        return active and machine.path(_PREPARED).exists() and not machine.path(_SLOT).exists()

    machine.wait_until(ready, "the standby is proved ready", 120)
    time.sleep(_LOOKS)


# the hosts -----------------------------------------------------------------------------------------


def begin(machine: Machine, client: netns.Namespace, proxy: str) -> None:
    """A fresh agent with that section of the configuration."""
    unit_machine.quiet(machine)
    unit_machine.configure(machine)
    machine.write(_CONFIG, machine.read(_CONFIG).replace("[proxy]\n", proxy))
    machine.systemctl("start", AGENT)
    machine.wait_for(PROXY)
    serving(client)
    time.sleep(_LOOKS)


def by_a_plain_unit(machine: Machine, client: netns.Namespace, events: int) -> dict[str, list[Event]]:
    restart.plain_unit(machine)
    serving(client)

    def dies() -> None:
        machine.kill(int(machine.show(PLAIN, "MainPID")["MainPID"]))
        serving(client)

    def again() -> None:
        machine.systemctl("restart", PLAIN)
        serving(client)

    return {
        "replaced: a plain unit": [event(client, again) for _ in range(events)],
        "dies: a plain unit": [event(client, dies) for _ in range(events)],
    }


def measured(machine: Machine, client: netns.Namespace, events: int) -> dict[str, list[Event]]:
    def times(happen: Callable[[], object], before: Callable[[], object] = lambda: None) -> list[Event]:
        found = []
        for _ in range(events):
            before()
            found.append(event(client, happen))
        return found

    again, killed = partial(replaced, machine, client), partial(dies, machine, client)
    begin(machine, client, "[proxy]\n")
    found = {
        "nothing happens": times(partial(time.sleep, QUIET)),
        "replaced: one slot, drained": times(again),
        "dies: one slot": times(killed, partial(first_in_a_row, machine)),
    }
    begin(machine, client, _TWO)
    found["replaced: two slots"] = times(again)
    begin(machine, client, f"{_TWO}standby = true\n")
    taken_over = partial(dies_with_a_standby, machine, client)
    found["dies: with a standby"] = times(taken_over, partial(stands_by, machine))
    begin(machine, client, "[proxy]\n")
    return found | by_a_plain_unit(machine, client, events)


def row(name: str, found: list[Event]) -> str:
    failed, gaps = sorted(one.failed for one in found), sorted(one.gap for one in found)
    counts = f"{statistics.median(failed):>8g}{failed[0]:>8}{failed[-1]:>8}{sum(one.sent for one in found):>10}"
    return f"{name:<30}{counts}{statistics.median(gaps):>10.2f}{gaps[0]:>8.2f}{gaps[-1]:>8.2f}"


def main(events: str = str(EVENTS)) -> int:
    if os.geteuid() != 0:
        print("hitless: left out, because only root can boot a machine")
        return 0
    real = os.environ.get("LINKERD2_PROXY")
    with unit_machine.booted(real) as (machine, client):
        if not real:
            restart.as_a_package_has_it(machine)
        machine.systemctl("start", "cluster")
        load = ", ".join(f"{one:.1f}" for one in os.getloadavg())
        print(f"{events} events each; {1 / EVERY:g} requests a second; load of the machine {load}", flush=True)
        found = measured(machine, client, int(events))
    print(f"{'':30}{'failed requests':>24}{'of all':>10}{'longest gap, s':>26}")
    print(f"{'':30}{'median':>8}{'least':>8}{'most':>8}{'sent':>10}{'median':>10}{'least':>8}{'most':>8}")
    for name in sorted(found, key=lambda one: one.partition(":")[0], reverse=True):
        print(row(name, found[name]))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
