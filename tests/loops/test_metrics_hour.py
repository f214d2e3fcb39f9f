"""The agent's series over an hour of virtual time, with the loops that decide and publish."""

import asyncio

from agent.core import facts as f
from agent.core import metrics
from agent.loops.board import Board
from tests.core.test_metrics import PROBES, Series, series
from tests.core.world import NOW, SPEC
from tests.loops.virtual_hour import HOUR, an_hour

FLAP, ROTATIONS = 3.0, 1000


async def test_an_hour_of_flaps_and_a_thousand_rotations_make_few_series() -> None:
    """All that were ever shown: five probes fail and pass, and most of the time there is another SVID."""
    shown: set[Series] = set()

    def also(board: Board, turn: int) -> None:
        now = asyncio.get_running_loop().time()
        board.setter("probes")(f.ProbesFact(tuple(f.ProbeFact(name, bool(turn % 2)) for name in PROBES)))
        if turn < ROTATIONS:
            svid = f.Svid(SPEC.identity, "", NOW + turn, NOW + turn + 3600.0)
            board.setter("identity")(f.IdentityFact(svid, now + 3600.0, updates=turn + 1))
        for name in PROBES:
            board.attempts.tallies.probed(name, 0.01)
        goals, tallies = board.goals.value, board.attempts.tallies
        shown.update(
            series(metrics.Seen(SPEC, board.phase.value, board.facts.value, goals, tallies, now, NOW + now))
        )

    await an_hour(FLAP, also)
    assert HOUR / FLAP >= ROTATIONS
    ever = [{dict(labels)[key] for name, labels in shown if name == of} for of, key in _VARYING.items()]
    assert all(map(len, ever)) and len(ever[0]) > 1, ever
    assert len(shown) <= metrics.MOST, len(shown)


_VARYING = {"fairlead_reason": "reason", "fairlead_problem": "reason", "fairlead_probe_passing": "probe"}
