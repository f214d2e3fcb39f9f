"""The kernel's redirect rules, through the door."""

from collections.abc import Mapping

from agent.adapters.door import Door
from agent.core.facts import Level
from agent.core.goals import RedirectGoal
from agent.core.reasons import Reason
from agent.ports import LiveRedirect, Trouble


class DoorRedirector:
    """Implements ports.Redirector."""

    def __init__(self, door: Door) -> None:
        self._door = door

    async def check(self) -> LiveRedirect:
        return _live(await self._door.ask("redirect check", Reason.REDIRECT_FAILED))

    async def apply(self, inbound: RedirectGoal, outbound: RedirectGoal) -> LiveRedirect:
        words = {"inbound": inbound.value, "outbound": outbound.value}
        return _live(await self._door.ask("redirect apply", Reason.REDIRECT_FAILED, **words))


def _live(answer: Mapping[str, str]) -> LiveRedirect:
    try:
        return LiveRedirect(Level(answer["inbound"]), Level(answer["outbound"]))
    except (KeyError, ValueError):
        raise Trouble(Reason.REDIRECT_FAILED, f"the door's answer names no levels: {dict(answer)}") from None
