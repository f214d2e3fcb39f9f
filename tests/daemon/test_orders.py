"""What root may order a living agent to do with its proxy, where no agent lives: the checks alone."""

from pathlib import Path
from typing import cast

import pytest

from agent import config
from agent.core.facts import Phase, PhaseKind
from agent.core.reasons import Reason
from agent.core.replacement import Replacement, Stage
from agent.daemon.orders import Orders
from agent.loops.board import Board
from agent.loops.replacement import ReplacementLoop
from agent.ports import Trouble
from agent.privileged.proxy import versions
from tests.config.test_config import EXAMPLE

OLD, NEW = "2.360.0", "2.366.0"


async def _proved(version: str) -> None:
    """Nothing is known against any version."""


def ordered(tmp_path: Path, change: Replacement) -> Orders:
    """OLD is current, NEW the one before, and neither is installed."""
    versions.folder(tmp_path).mkdir(parents=True)
    (versions.folder(tmp_path) / versions.CURRENT).symlink_to(OLD)
    (versions.folder(tmp_path) / versions.PREVIOUS).symlink_to(NEW)
    board = Board()
    board.phase.set(Phase(PhaseKind.MEMBER))
    board.setter("replacement")(change)
    return Orders(
        config.parse(EXAMPLE.read_text()),
        str(tmp_path),
        board,
        cast(ReplacementLoop, None),
        _proved,
        lambda: "one slot",
    )


@pytest.mark.parametrize("stage", [Stage.BACK_AGAIN, Stage.RENEWING, Stage.CLEARED])
async def test_a_rollback_never_leads_to_the_version_that_did_not_work(tmp_path: Path, stage: Stage) -> None:
    """Also once that is named no more: the host has left since, and joined again."""
    orders = ordered(tmp_path, Replacement(NEW, OLD, stage))
    with pytest.raises(Trouble, match=f"{NEW} did not become ready") as raised:
        await orders.rollback({})
    assert raised.value.reason is Reason.PROXY_BINARY_UNUSABLE
