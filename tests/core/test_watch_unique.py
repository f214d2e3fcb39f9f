"""Which ExternalWorkloads have something in common that each should have alone."""

import pytest

from agent.core.facts import Condition
from agent.core.reasons import Reason
from agent.core.watch.fleet import UNIQUE, Name, WorkloadSeen
from agent.core.watch.unique import Shared, shared, wanted

pytestmark = pytest.mark.watcher

ONE, TWO, THREE = ("shop", "db-1"), ("shop", "db-2"), ("bank", "db-3")


def seen(address: str, port: int = 80, identity: str = "", group: str = "") -> WorkloadSeen:
    return WorkloadSeen("uid", addresses=(address,), ports=(port, 9999), identity=identity, group=group)


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        (seen("192.0.2.1"), seen("192.0.2.1", 81), Reason.ENDPOINT_SHARED),  # both have 9999
        (seen("::ffff:192.0.2.1"), seen("192.0.2.1"), Reason.ENDPOINT_SHARED),
        (seen("2001:DB8::1"), seen("2001:db8:0::1"), Reason.ENDPOINT_SHARED),
        (seen("192.0.2.1", identity="spiffe://td/a"), seen("192.0.2.2", identity="spiffe://td/b"), None),
        (seen("192.0.2.1", identity="spiffe://td/a"), seen("192.0.2.2", identity="spiffe://td/a"), "id"),
        (seen("192.0.2.1", identity="i", group="g"), seen("192.0.2.2", identity="i", group="g"), None),
        (seen("192.0.2.1", identity="i", group="g"), seen("192.0.2.2", identity="i", group="h"), "id"),
        (seen("192.0.2.1", identity="i", group="g"), seen("192.0.2.2", identity="i"), "id"),
        (seen("192.0.2.1"), seen("192.0.2.2"), None),
    ],
)
def test_two_hosts(first: WorkloadSeen, second: WorkloadSeen, reason: Reason | str | None) -> None:
    found = shared({ONE: first, TWO: second, THREE: seen("198.51.100.1")})
    named = Reason.SPIFFE_ID_SHARED if reason == "id" else reason
    expected = {} if named is None else {ONE: Shared(Reason(named), (TWO,)), TWO: Shared(Reason(named), (ONE,))}
    assert found == expected


def test_a_group_of_another_namespace_is_another_group() -> None:
    found = shared(
        {ONE: seen("192.0.2.1", identity="i", group="g"), THREE: seen("192.0.2.2", identity="i", group="g")}
    )
    assert found.keys() == {ONE, THREE}


def test_the_message_names_the_others() -> None:
    others: list[Name] = [("shop", f"db-{number}") for number in range(5)]
    found = shared({name: seen("192.0.2.1") for name in others})
    assert found[others[0]].message.endswith(": shop/db-1, shop/db-2, shop/db-3 and others")
    assert found[others[4]].message.endswith(": shop/db-0, shop/db-1, shop/db-2 and others")


def test_a_fleet_at_one_address_costs_no_more_than_its_size() -> None:
    """Someone may create thousands of them."""
    fleet: dict[Name, WorkloadSeen] = {("shop", f"db-{number}"): seen("192.0.2.1") for number in range(5000)}
    found = shared(fleet)
    assert len(found) == 5000 and max(len(one.others) for one in found.values()) == 3


def test_it_is_written_on_change_only() -> None:
    conflict = Shared(Reason.ENDPOINT_SHARED, (TWO,))
    host = seen("192.0.2.1")
    assert wanted(None, host) is None, "a host that was never in conflict has no such condition"
    first = wanted(conflict, host)
    assert first is not None and (first.type, first.status, first.reason) == (UNIQUE, "False", "EndpointShared")
    told = WorkloadSeen("uid", unique=first)
    assert wanted(conflict, told) is None
    assert wanted(Shared(Reason.ENDPOINT_SHARED, (THREE,)), told) is not None
    over = wanted(None, told)
    assert over is not None and (over.status, over.reason) == ("True", "HostUnique")
    assert wanted(None, WorkloadSeen("uid", unique=over)) is None
    assert wanted(None, WorkloadSeen("uid", unique=Condition(UNIQUE, "False", "Other"))) is not None
