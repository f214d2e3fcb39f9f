"""Which way the proxy is replaced, by what root's programs start next."""

from pathlib import Path
from typing import Any, cast

import pytest

from agent import config
from agent.config import derived
from agent.core.facts import RedirectFact
from agent.daemon import proxies
from agent.daemon.context import Context
from agent.host import Host
from agent.loops.board import Board
from tests.lab import unit_machine

ONE = unit_machine.configuration()
TWO = ONE.replace("[proxy]\n", "[proxy]\nslots = true\n")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (TWO, "the proxy is not ready, or the second slot serves already"),
        (TWO.replace("slots = true", 'slots = true\nslot_network = "169.254.7.0/24"'), proxies.NOT_APPROVED),
        (ONE, "proxy.slots is false"),
        ("no configuration", "the proxy is not ready, or the second slot serves already"),
    ],
)
def test_an_edited_file_has_no_second_slot(tmp_path: Path, text: str, why: str) -> None:
    """The agent has two by the file that it read, and root has approved that one."""
    host = Host.below(str(tmp_path))
    for path, written in ((host.approved.configuration, TWO), (host.configuration, text)):
        path.parent.mkdir(parents=True)
        path.write_text(written)
    board, known = Board(), config.parse(TWO)
    board.setter("redirect")(RedirectFact())
    spec = derived.policy_spec(known, tmp_path, "boot")
    it = Context(known, host, (0, 0), spec, board, cast(Any, None), cast(Any, None), 0)
    assert spec.slots and proxies.why_drained(it) == why
