"""One request to the privileged helper, for programs without an event loop."""

import asyncio
from collections.abc import Mapping
from typing import Any

from agent.adapters.helper import SETS_WITHIN, Helper
from agent.core.reasons import Fault, Reason
from agent.host import Host
from agent.ports import Trouble
from agent.privileged.system import session


class Refused(Exception):
    """The privileged helper refused, or its input cannot be read."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.detail)
        self.fault = fault


def ask(prefix: str, verb: str, **words: str) -> Mapping[str, Any]:
    """The privileged helper's answer. Raises Refused."""
    asked = Helper(str(Host.below(prefix).prefix))
    try:
        return asyncio.run(asked.ask_within(SETS_WITHIN, verb, Reason.REDIRECT_FAILED, words))
    except Trouble as trouble:
        raise Refused(trouble.fault) from None


def session_ports() -> frozenset[int]:
    """The ports of the host that this session uses."""
    return session.ports()
