"""Two replicas as processes on a real kube-apiserver: both observe, one writes."""

import re
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path

from tests.watcher.watching import LEASES, SYSTEM, Fleet, Watcher, watcher

SLOW = "--shortest=16"  # more than a Lease of the watcher lasts
LEADS = "fairlead_watcher_leads"


@contextmanager
def two(config: Path, fleet: Fleet, *options: str) -> Iterator[tuple[Watcher, Watcher]]:
    """The leader first."""
    with ExitStack() as stack:
        first = stack.enter_context(watcher(config, "-n", fleet.namespace, *options, name="first"))
        first.wait_for(" leads ")
        second = stack.enter_context(watcher(config, "-n", fleet.namespace, *options, name="second"))
        second.wait_for("serves")
        yield first, second


def at(log: Path, what: str) -> float:
    found = re.search(rf"^(\S+) \[\S+ *\] {what}", log.read_text(), re.MULTILINE)
    assert found is not None, log.read_text()
    return datetime.fromisoformat(found[1]).timestamp()


def enrolled(fleet: Fleet) -> tuple[str, ...]:
    names = ("vm-1", "vm-2", "vm-3", "dead")
    for name in names:
        fleet.enrol(name)
    return names


def test_another_leader_does_not_begin_the_grace_again(fleet: Fleet, config: Path) -> None:
    *alive, _ = enrolled(fleet)
    with two(config, fleet, SLOW) as (first, second):
        fleet.renewing(*alive, until=lambda: second.metric('fairlead_watcher_hosts{standing="well"}') == 4)
        first.send(signal.SIGKILL)
        fleet.renewing(*alive, until=lambda: fleet.unreachable("dead"))
        assert fleet.ready(*alive)
        second.wait_for("marked a silent host")
        assert at(second.log, "marked a silent host") - at(second.log, "leads") < 10, "it had observed before"


def test_a_leader_that_was_stopped_observes_and_the_other_one_writes(fleet: Fleet, config: Path) -> None:
    *alive, _ = enrolled(fleet)
    with two(config, fleet) as (first, second):
        fleet.renewing(*alive, "dead", until=lambda: second.metric('fairlead_watcher_hosts{standing="well"}') == 4)
        first.send(signal.SIGSTOP)
        fleet.renewing(*alive, "dead", until=lambda: second.said(" leads "))
        first.send(signal.SIGCONT)
        fleet.renewing(*alive, "dead", until=lambda: first.said(" observes "))
        fleet.renewing(*alive, until=lambda: fleet.unreachable("dead"))
        marks = [one.metric("fairlead_watcher_marked_total") for one in (first, second)]
        assert marks == [0, 1] and fleet.ready(*alive)


def test_a_leader_by_force_and_a_release(fleet: Fleet, config: Path) -> None:
    with two(config, fleet) as (first, second):
        path = LEASES.format(SYSTEM) + "/fairlead-watcher"
        fleet.patch(path, {"spec": {"holderIdentity": "somebody"}})
        first.wait_for(" observes ")
        assert (first.metric(LEADS), second.metric(LEADS)) == (0, 0)
        fleet.patch(path, {"spec": {"holderIdentity": ""}})
        fleet.renewing(until=lambda: first.metric(LEADS) + second.metric(LEADS) == 1)
        leader, other = (first, second) if first.metric(LEADS) else (second, first)
        leader.send(signal.SIGTERM)
        fleet.renewing(until=lambda: other.metric(LEADS) == 1)
        leader.process.wait(10)
        assert leader.process.returncode == 0
