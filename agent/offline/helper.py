"""One question to the door, for whoever has no loop."""

import asyncio
from collections.abc import Mapping
from typing import Any

from agent.adapters.helper import Door
from agent.core.reasons import Fault, Reason
from agent.ports import Trouble


class Refused(Exception):
    """The door did not do it, or what it reads cannot be read."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.detail)
        self.fault = fault


def ask(prefix: str, verb: str, **words: str) -> Mapping[str, Any]:
    """The door's answer. Raises Refused."""
    try:
        return asyncio.run(Door(prefix or "/").ask(verb, Reason.REDIRECT_FAILED, **words))
    except Trouble as trouble:
        raise Refused(trouble.fault) from None
