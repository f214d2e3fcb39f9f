"""A fake control plane. Held to the contract of tests/contract/test_control_plane.py."""

from agent.core.facts import ControlPlaneFact


class MemoryControlPlane:
    """`dials`: whether each look dialled, in order."""

    def __init__(self, found: ControlPlaneFact | None = None) -> None:
        self.found = found or ControlPlaneFact()
        self.dials: list[bool] = []

    async def look(self, *, dial: bool) -> ControlPlaneFact:
        self.dials.append(dial)
        return self.found
