"""ports.IdentityTokens on files, and on what a real kube-apiserver gives under the shipped right."""

import asyncio
import os
import stat
import string
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.adapters import identity_token
from agent.adapters.identity_token import FromFile, Place, Requested
from agent.core import token
from agent.core.reasons import Reason
from agent.ports import IdentityTokens, Trouble
from tests.contract import status_worlds
from tests.contract.status_worlds import COLLECTIONS, NAME, HttpWorld
from tests.lab import identity_tokens
from tests.lab.identity_tokens import SUBJECT

MANIFESTS = Path(__file__).parents[2] / "config/cluster/token.yaml"
PROXY = (2102, 2103)


def wall() -> float:
    return 1000.0


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """As it is made at boot: setgid, and closed to all others."""
    folder = tmp_path / "fairlead-token"
    identity_token.furnish(folder, 0o2750, (0, PROXY[1]))
    return Place(folder / "token", PROXY, SUBJECT, wall)


async def reason(asked: IdentityTokens, *, renew: bool = False) -> Reason:
    with pytest.raises(Trouble) as raised:
        await (asked.renew() if renew else asked.held())
    assert "eyJ" not in str(raised.value), "no part of a token is told"
    return raised.value.reason


async def test_a_token_in_a_file_reaches_the_proxys_user_and_nobody_else(place: Place, tmp_path: Path) -> None:
    file = tmp_path / "given"
    file.write_text(identity_tokens.token(500, 2000) + "\n")
    tokens = FromFile(place, file)
    await tokens.renew()
    assert (await tokens.held()).not_after == 2000
    found = place.path.stat()
    assert (stat.S_IMODE(found.st_mode), found.st_gid) == (0o640, PROXY[1]), (
        "by the folder, and by no common group"
    )
    assert place.path.read_text() == file.read_text().strip()
    await tokens.renew()
    assert place.path.stat().st_ino == found.st_ino, "the same again is not written"
    file.write_text(identity_tokens.token(600, 3000))
    await tokens.renew()
    assert (await tokens.held()).not_after == 3000


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, Reason.IDENTITY_TOKEN_UNREADABLE),
        (" \n", Reason.IDENTITY_TOKEN_UNREADABLE),
        (identity_tokens.token(500, 2000)[:60], Reason.IDENTITY_TOKEN_UNSUITABLE),
        (identity_tokens.token(500, 2000, sub="system:serviceaccount:a:b"), Reason.IDENTITY_TOKEN_UNSUITABLE),
        (identity_tokens.token(500, 900), Reason.IDENTITY_EXPIRED),
        (identity_tokens.token(5000, 9000), Reason.CLOCK_SKEWED),
    ],
)
async def test_what_is_of_no_use_stays_where_it_is(
    place: Place, tmp_path: Path, text: str | None, expected: Reason
) -> None:
    file = tmp_path / "given"
    tokens = FromFile(place, file)
    file.write_text(identity_tokens.token(500, 2000))
    await tokens.renew()
    file.unlink()
    if text is not None:
        file.write_text(text)
    assert await reason(tokens, renew=True) is expected
    assert (await tokens.held()).not_after == 2000, "the proxy keeps what it has"


async def test_a_file_or_folder_that_the_proxys_user_cannot_read(place: Place, tmp_path: Path) -> None:
    tokens = FromFile(place, tmp_path / "given")
    assert await reason(tokens) is Reason.IDENTITY_TOKEN_UNREADABLE
    (tmp_path / "given").write_text(identity_tokens.token(500, 2000))
    await tokens.renew()
    place.path.chmod(0o600)
    assert await reason(tokens) is Reason.IDENTITY_TOKEN_UNREADABLE
    place.path.chmod(0o640)
    os.chown(place.path.parent, 0, 0)
    assert await reason(tokens) is Reason.IDENTITY_TOKEN_UNREADABLE
    place.path.parent.chmod(0o755)
    assert (await tokens.held()).not_after == 2000
    os.chown(place.path, *PROXY)
    place.path.chmod(0o040)
    assert await reason(tokens) is Reason.IDENTITY_TOKEN_UNREADABLE, "its own right counts, not its group's"


async def test_a_place_that_is_no_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    (tmp_path / "given").write_text(identity_tokens.token(500, 2000))
    tokens = FromFile(Place(tmp_path / "run/token", PROXY, SUBJECT, wall), tmp_path / "given")
    assert await reason(tokens, renew=True) is Reason.IDENTITY_TOKEN_UNWRITABLE


async def test_another_one_is_asked_for_at_half_of_its_life_and_after_a_restart_as_well(place: Place) -> None:
    answers = [identity_tokens.token(0, 1900), identity_tokens.token(900, 3000)]
    asked = []

    async def ask() -> str:
        asked.append(1)
        return answers[len(asked) - 1]

    for _ in range(5):  # each time as a new agent
        tokens = Requested(place, ask)
        await tokens.renew()
    assert len(asked) == 2, "the first had passed its half, the second lasts"
    assert (await tokens.held()).not_after == 3000


# real ---------------------------------------------------------------------------------------------


@pytest.fixture(params=[pytest.param("real", marks=pytest.mark.real)])
async def real(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[HttpWorld]:
    async with status_worlds.made(request, tmp_path) as world:
        assert isinstance(world, HttpWorld)
        yield world


async def test_the_api_server_gives_a_token_under_the_shipped_right(real: HttpWorld, tmp_path: Path) -> None:
    subject = token.subject("vm-1-mesh", real.namespace)
    place = Place(tmp_path / "token-folder/token", PROXY, subject, time.time)
    tokens = Requested(place, real.api.tokens("vm-1-mesh").ask)
    assert await reason(tokens, renew=True) is Reason.API_FORBIDDEN
    names = {"NAME": NAME, "NAMESPACE": real.namespace, "ACCOUNT": "vm-1-mesh"}
    text = string.Template(MANIFESTS.read_text()).substitute(names)
    account, *rights = text.split("\n---\n")
    for kind, document in zip(("Role", "RoleBinding"), rights, strict=True):
        await real.must("POST", COLLECTIONS[kind].format(real.namespace), document, "application/yaml")
    async with asyncio.timeout(30):
        while (seen := await reason(tokens, renew=True)) is Reason.API_FORBIDDEN:
            await asyncio.sleep(0.05)  # rights reach the server's caches a moment later
    assert seen is Reason.IDENTITY_TOKEN_UNREADABLE, "there is no such account yet"
    path = COLLECTIONS["ServiceAccount"].format(real.namespace)
    await real.must("POST", path, account, "application/yaml")
    await tokens.renew()
    found = await tokens.held()
    assert found.audiences == (token.AUDIENCE,)
    assert 3000 < found.not_after - time.time() <= 86400 + 60
    with pytest.raises(Trouble, match="ApiForbidden"):
        await real.api.tokens("default").ask()
