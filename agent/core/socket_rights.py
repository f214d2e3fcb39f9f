"""What an operator's group may ask of the agent by its status socket. Anything else is root's."""

from collections.abc import Mapping
from typing import Any, Final

from agent.core.facts import PhaseKind

_IN: Final = frozenset({PhaseKind.MEMBER.value, PhaseKind.DRAINED.value})


def operator_may_ask(phase: PhaseKind, present: str) -> bool:
    """Drain and undrain: neither takes a host out of the mesh or brings it back. `present`: the phase now."""
    return phase.value in _IN and present in _IN


def operator_may_order(name: str, words: Mapping[str, Any]) -> bool:
    """Reload what root has written, without a restart of the proxy."""
    return name == "reload" and not words.get("restart_proxy")
