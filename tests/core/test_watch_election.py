"""Two replicas and one Lease, with calls that take any time: never do both lead."""

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.core.watch.election import Election, Terms

pytestmark = pytest.mark.watcher

TERMS = Terms()


@dataclass
class Server:
    holder: str = ""
    version: int = 0


@dataclass
class Replica:
    """`asked`: a reading on its way, as the server answered it. `sent`: a write, since when, and its version if
    the server took it."""

    election: Election
    server: Server
    asked: tuple[str, int] | None = None
    seen: int = -1
    sent: tuple[float, int | None] | None = None

    def step(self, action: str, now: float) -> None:
        match action:
            case "ask" if self.asked is None and self.sent is None:
                self.asked = (self.server.holder, self.server.version)
            case "read" if self.asked is not None:
                holder, self.seen = self.asked
                self.asked = None
                self.election = self.election.observed(holder, str(self.seen), now)
                if self.election.may_try(now):
                    self.sent = now, None
            case "reach" if self.sent is not None and self.sent[1] is None and self.seen == self.server.version:
                self.server.version += 1
                self.server.holder = self.election.me
                self.sent = self.sent[0], self.server.version
            case "answer" if self.sent is not None:
                began, version = self.sent
                self.sent = None
                if version is not None:
                    self.election = self.election.renewed(str(version), began, now)


# Single steps of a call that takes its time, and calls that are over at once.
ACTIONS = ("ask", "read", "reach", "answer", "ask read", "reach answer", "ask read reach answer")
step = st.tuples(st.sampled_from("ab"), st.sampled_from(ACTIONS), st.sampled_from([0.0, 0.0, 0.5, 2.0, 4.0, 9.0]))


@settings(max_examples=300)
@given(st.lists(step, min_size=10, max_size=60))
def test_two_never_lead(steps: list[tuple[str, str, float]]) -> None:
    server, now = Server(), 0.0
    replicas = {me: Replica(Election(me, TERMS), server) for me in "ab"}
    for me, actions, passed in steps:
        now += passed
        for action in actions.split():
            replicas[me].step(action, now)
        assert sum(replica.election.leads(now) for replica in replicas.values()) <= 1


def test_a_leader_stops_five_seconds_before_another_may_begin() -> None:
    me = Election("a", TERMS).renewed("1", began=100.0, now=103.0)
    assert me.leads(109.0) and not me.leads(109.1)
    other = Election("b", TERMS).observed("a", "1", 100.0)
    assert not other.may_try(113.9) and other.may_try(114.0)


def test_another_replica_begins_within_the_duration_of_the_lease() -> None:
    """Whenever within its look it was that the leader renewed for the last time."""
    for renewed in (100.0, 100.1, 100.25, 100.49):
        now, other = 100.0, Election("b", TERMS).observed("a", "1", 98.0)
        while not other.may_try(now):
            now += other.pause(now)
            other = other.observed("a", "2" if now >= renewed else "1", now)
        assert renewed + TERMS.free_after <= now < renewed + TERMS.duration


def test_a_replica_that_cannot_take_a_free_lease_does_not_spin() -> None:
    other = Election("b", TERMS).observed("a", "1", 100.0)
    assert other.pause(100.0) == other.pause(200.0) == TERMS.look and other.pause(113.9) < TERMS.look
    assert Election("b", TERMS).observed("", "1", 100.0).pause(100.0) == TERMS.retry


def test_a_lease_that_is_released_or_given_to_another_by_force() -> None:
    me = Election("a", TERMS).renewed("1", 100.0, 100.0)
    assert Election("b", TERMS).observed("", "2", 101.0).may_try(101.0)
    assert not me.observed("b", "2", 101.0).leads(101.0)
    assert me.observed("a", "2", 101.0).leads(101.0), "a foreign edit of an annotation"
    assert not me.released().leads(100.0)
