"""Fault scenarios of a `fairlead watcher` as a process on a real kube-apiserver: its requests are refused, slow,
overtaken by a change, or never answered."""

import itertools
import re
import signal
import threading
from pathlib import Path

import pytest

from tests.watcher.between import Asked, Between, Dropped, Refusal, between
from tests.watcher.test_watcher_faults import ALIVE, GRACE, WELL, enrolled, marked_after_the_gap
from tests.watcher.watching import WITHIN, Fleet, Watcher, watcher

RETRY_AFTER = 3  # seconds; a watcher of `watcher` tries again within one
SLOW = 5.0  # seconds


def all_well(fleet: Fleet, running: Watcher) -> None:
    fleet.renewing(*ALIVE, "dead", until=lambda: running.metric(WELL) == 4)


# the API server -------------------------------------------------------------------------------------


def test_a_server_that_throttles_is_left_alone_for_as_long_as_it_says(
    fleet: Fleet, token: str, tmp_path: Path
) -> None:
    """429 for every request: it marks nobody, and every host has its grace again."""
    enrolled(fleet)
    with between(fleet.server, tmp_path, token) as way, watcher(way.config, "-n", fleet.namespace) as running:
        all_well(fleet, running)
        way.asked.clear()
        way.before = lambda _: Refusal(429, RETRY_AFTER)
        fleet.renewing(*ALIVE, until=lambda: running.page("/readyz")[0] == 503)
        fleet.renewing(*ALIVE, until=lambda: len(readings(fleet, way)) >= 4)
        assert fleet.ready(*ALIVE, "dead")
        assert len(re.findall("about='readings .*ApiThrottled", running.log.read_text())) == 1
        refused = readings(fleet, way)[1:]  # the first one may have been answered
        assert all(later - earlier >= RETRY_AFTER for earlier, later in itertools.pairwise(refused))
        way.before = lambda _: None
        fleet.renewing(*ALIVE, until=lambda: fleet.unreachable("dead"))
        assert fleet.ready(*ALIVE) and marked_after_the_gap(running) >= GRACE


def readings(fleet: Fleet, way: Between) -> list[float]:
    """When it asked for all Leases."""
    return [asked.at for asked in way.asked if asked.path == fleet.leases]


def test_a_slow_server_makes_a_quick_watcher_wait(fleet: Fleet, token: str, tmp_path: Path) -> None:
    """Its readings take longer than a view may be old."""
    enrolled(fleet)
    with between(fleet.server, tmp_path, token) as way, watcher(way.config, "-n", fleet.namespace) as running:
        all_well(fleet, running)
        with slowed(way):
            fleet.renewing(*ALIVE, until=lambda: running.page("/readyz")[0] == 503)
            fleet.renewing(*ALIVE, until=lambda: running.said("took too long|ApiTimeout"))
            assert fleet.ready(*ALIVE, "dead")
        fleet.renewing(*ALIVE, until=lambda: fleet.unreachable("dead"))
        assert fleet.ready(*ALIVE) and marked_after_the_gap(running) >= GRACE


def test_a_slow_server_does_not_hide_a_dead_host_from_a_watcher_with_the_usual_numbers(
    fleet: Fleet, token: str, tmp_path: Path
) -> None:
    enrolled(fleet)
    usual = ("--look-every=5", "--shortest=20")
    with (
        between(fleet.server, tmp_path, token) as way,
        watcher(way.config, "-n", fleet.namespace, *usual) as running,
    ):
        all_well(fleet, running)
        with slowed(way):
            fleet.renewing(*ALIVE, until=lambda: fleet.unreachable("dead"), within=3 * WITHIN)
            assert fleet.ready(*ALIVE) and running.page("/readyz")[0] == 200
            assert running.metric("fairlead_watcher_leads") == 1, "its own Lease is renewed in time"


class slowed:
    """Each request waits so long before it reaches the server; at the end those that wait go on."""

    def __init__(self, way: Between) -> None:
        self._way, self._over = way, threading.Event()

    def __enter__(self) -> None:
        self._way.before = self._wait

    def __exit__(self, *_: object) -> None:
        self._way.before = lambda _: None
        self._over.set()

    def _wait(self, _: Asked) -> None:
        self._over.wait(SLOW)


# between a reading and a write ----------------------------------------------------------------------


class Mark:
    """The request that would mark a host, and stays on its way until `go`."""

    def __init__(self, host: str) -> None:
        self._host, self._came, self._go = host, threading.Event(), threading.Event()

    def hold(self, asked: Asked) -> None:
        if asked.marks(self._host):
            self._came.set()
            self._go.wait(WITHIN)

    def hold_and_drop(self, asked: Asked) -> None:
        if asked.marks(self._host):
            self.hold(asked)
            raise Dropped

    def is_held(self) -> bool:
        return self._came.is_set()

    def go(self) -> None:
        self._go.set()


def test_a_workload_made_anew_while_its_verdict_is_on_the_way_is_another_one(
    fleet: Fleet, token: str, tmp_path: Path
) -> None:
    enrolled(fleet)
    mark = Mark("dead")
    with between(fleet.server, tmp_path, token) as way, watcher(way.config, "-n", fleet.namespace) as running:
        way.before = mark.hold
        fleet.renewing(*ALIVE, until=mark.is_held)
        owner = fleet.make_anew("dead")
        mark.go()
        unjudged = 'fairlead_watcher_hosts{standing="unjudged"}'
        fleet.renewing(*ALIVE, until=lambda: running.metric(unjudged) == 1)
        assert fleet.ready(*ALIVE, "dead"), "its Lease is the one of the object before it"
        fleet.patch(f"{fleet.leases}/dead", {"metadata": {"ownerReferences": [owner]}})
        fleet.renew("dead")
        fleet.renewing(*ALIVE, until=lambda: fleet.unreachable("dead"))
        assert fleet.ready(*ALIVE) and running.metric("fairlead_watcher_marked_total") == 1


@pytest.mark.parametrize("written", [False, True], ids=["before the write", "before its answer"])
def test_a_watcher_that_is_killed_between_its_reading_and_its_write(
    fleet: Fleet, token: str, tmp_path: Path, written: bool
) -> None:
    """The next one marks the host, unless it is marked; and by its own observation, after the whole grace."""
    enrolled(fleet)
    mark = Mark("dead")
    with between(fleet.server, tmp_path, token) as way:
        way.before, way.after = (lambda _: None, mark.hold) if written else (mark.hold_and_drop, lambda _: None)
        with watcher(way.config, "-n", fleet.namespace, name="first") as first:
            fleet.renewing(*ALIVE, until=mark.is_held)
            first.send(signal.SIGKILL)
            first.process.wait()
            mark.go()
            way.before = way.after = lambda _: None
            assert fleet.unreachable("dead") is written
        version = fleet.version("dead")
        with watcher(way.config, "-n", fleet.namespace, name="next") as second:
            silent = 'fairlead_watcher_hosts{standing="silent"}'
            fleet.renewing(*ALIVE, until=lambda: second.metric("fairlead_watcher_leads") == 1)
            fleet.renewing(*ALIVE, until=lambda: second.metric(silent) == 1 and fleet.unreachable("dead"))
            assert second.metric("fairlead_watcher_marked_total") == (0 if written else 1)
            assert (fleet.version("dead") == version) is written and fleet.ready(*ALIVE)
