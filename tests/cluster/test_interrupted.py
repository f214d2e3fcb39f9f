"""`fairlead enrol` and `retire` broken off after each of their requests, and two operators at once, on a real
kube-apiserver."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from agent.adapters.kube.objects import Objects
from agent.cluster.enrolment import main
from agent.cluster.enrolment.main import Way
from agent.cluster.enrolment.mesh import Given
from agent.cluster.enrolment.order import Order
from agent.cluster.enrolment.refused import Refused
from agent.core.enrol.joining import Choices
from tests.cluster.operator import NAME, POD_NETWORK, Done, Operator, new_address
from tests.cluster.test_retire import left, publish, renew, retire
from tests.lab.realparts import ApiServer

pytestmark = pytest.mark.real
ROLE = f"fairlead-host-{NAME}"
ALL = {"externalworkloads": NAME, "leases": NAME, "roles": ROLE, "rolebindings": ROLE}


def made(server: ApiServer, folder: Path) -> Operator:
    operator = Operator(server, folder)
    operator.install_linkerd()
    return operator


def content(operator: Operator) -> dict[str, Any]:
    """Of each object, without what differs from one namespace or time to another."""
    found = {}
    for kind, name in ALL.items():
        body = operator.get(kind, name)
        meta = {key: body["metadata"].get(key) for key in ("name", "labels", "annotations")}
        owners = [owner["name"] for owner in body["metadata"].get("ownerReferences", [])]
        rest = {key: body.get(key) for key in ("spec", "rules", "roleRef", "subjects")}
        found[kind] = json.dumps([meta, owners, rest]).replace(operator.namespace, "NS")
        found[kind] = found[kind].replace(operator.address, "ADDRESS")
    return found


class BrokenOff:
    """Ends the program once its n-th request was answered."""

    def __init__(self, patch: pytest.MonkeyPatch, after: int) -> None:
        self.sent, self._call = 0, Objects._call  # noqa: SLF001 - where every request passes
        outer = self

        async def call(api: Objects, *arguments: Any, **more: Any) -> Any:
            try:
                return await outer._call(api, *arguments, **more)
            finally:
                outer.sent += 1
                if outer.sent == after:
                    raise KeyboardInterrupt

        patch.setattr(Objects, "_call", call)


def every_break(work: Callable[[], Done], prepare: Callable[[], None], finished: Callable[[], None]) -> int:
    """Break `work` off after each request, then run it to its end. How many requests it has."""
    after = 0
    while True:
        after += 1
        prepare()
        with pytest.MonkeyPatch.context() as patch:
            broken = BrokenOff(patch, after)
            first = work()
        if broken.sent < after:
            assert first.code == 0, first.err
            return after - 1
        assert first.code == 130, first.err
        again = work()
        assert again.code == 0, (after, again.err)
        finished()


def test_a_second_run_completes_an_enrolment(real_apiserver: ApiServer, tmp_path: Path) -> None:
    whole = made(real_apiserver, tmp_path)
    assert whole.enrol().code == 0
    wanted, current = content(whole), [whole]

    def prepare() -> None:
        current[0] = made(real_apiserver, tmp_path)

    def finished() -> None:
        assert content(current[0]) == wanted

    assert every_break(lambda: current[0].enrol(), prepare, finished) >= 10


def test_a_second_run_completes_a_retirement(real_apiserver: ApiServer, tmp_path: Path) -> None:
    current = [made(real_apiserver, tmp_path)]

    def prepare() -> None:
        current[0] = made(real_apiserver, tmp_path)
        assert current[0].enrol().code == 0
        publish(current[0], "False", "Retired")
        renew(current[0], drained="true")

    def finished() -> None:
        assert left(current[0]) == set()

    assert every_break(lambda: retire(current[0]), prepare, finished) >= 10


def test_two_operators_do_not_give_one_name_to_two_hosts(real_apiserver: ApiServer, tmp_path: Path) -> None:
    operator = made(real_apiserver, tmp_path)
    way = Way(str(operator.kubeconfig))
    given = Given(linkerd=operator.namespace, server=operator.server.url)

    def enrol(order: Order) -> str:
        """ "" if it was done."""
        try:
            main.enrol(way, order, given, Choices((POD_NETWORK,)), lambda _: None)
        except Refused as refused:
            return str(refused)
        return ""

    for number in range(8):
        name = f"db-{number}"
        orders = [
            Order(name, operator.namespace, (new_address(),), identity=operator.identity_of(name)) for _ in "ab"
        ]
        with ThreadPoolExecutor() as pool:
            first, second = pool.map(enrol, orders)
        assert bool(first) != bool(second), (first, second)
        assert name in (first or second)
        won = orders[1] if first else orders[0]
        there = operator.get("externalworkloads", name)["spec"]["workloadIPs"]
        assert there == [{"ip": won.addresses[0]}]


def test_two_operators_retire_one_host(real_apiserver: ApiServer, tmp_path: Path) -> None:
    """At once: the second one finds less, and the next run finds nothing."""
    operator = made(real_apiserver, tmp_path)
    way = Way(str(operator.kubeconfig))

    def attempt(_: str) -> str:
        """Why it was refused; "": it was not."""
        try:
            main.retire(way, NAME, operator.namespace, 30.0, lambda _: None)
        except Refused as refused:
            return str(refused)
        return ""

    for _ in range(4):
        assert operator.enrol().code == 0
        publish(operator, "False", "Retired")
        renew(operator, drained="true")
        with ThreadPoolExecutor() as pool:
            said = list(pool.map(attempt, "ab"))
        assert "" in said, said
        assert all("deleted an object meanwhile" in one for one in said if one), said
        assert attempt("c") == "" and left(operator) == set()
