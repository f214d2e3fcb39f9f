"""SelfSubjectAccessReview: one suite on the embedded API server and on a real kube-apiserver."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.core.doctor.api import Right, rights
from agent.core.reasons import Reason
from agent.ports import Trouble
from tests.contract import status_worlds
from tests.contract.status_worlds import NAME, EmbeddedWorld, HttpWorld
from tests.contract.test_status_api import REAL


@pytest.fixture(params=["embedded", REAL])
async def http(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[HttpWorld]:
    async with status_worlds.made(request, tmp_path) as world:
        assert isinstance(world, HttpWorld)
        if isinstance(world, EmbeddedWorld):  # it gives every right, where the real one has host.yaml
            world.server.allow = lambda ask: ask.verb != "delete" and ask.resource != "externalworkloads/scale"
        yield world


async def test_each_right_of_a_host_is_given(http: HttpWorld) -> None:
    for right in rights(http.namespace, NAME):
        assert await http.api.reviews().allowed(right), right.words


@pytest.mark.parametrize(
    ("verb", "resource"),
    [("delete", "externalworkloads"), ("patch", "externalworkloads/scale")],
    ids=["verb", "part"],
)
async def test_what_is_not_given_is_told(http: HttpWorld, verb: str, resource: str) -> None:
    right = Right(verb, "workload.linkerd.io", resource, http.namespace, NAME)
    assert not await http.api.reviews().allowed(right)


async def test_nobody_is_reviewed_without_a_credential(http: HttpWorld) -> None:
    http.token_file.write_text("another\n")
    with pytest.raises(Trouble) as raised:
        await http.api.reviews().allowed(rights(http.namespace, NAME)[0])
    assert raised.value.reason is Reason.API_UNAUTHORIZED
