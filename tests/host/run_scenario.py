"""Runs one fault scenario in its own private namespaces: python -m tests.host.run_scenario NAME

The kernel ends whatever the scenario started when the scenario ends, however it ends.
"""

import asyncio
import sys
from pathlib import Path

from agent.sandbox.stage import namespaces
from agent.sandbox.stage.scene import Scene
from tests.host import scenarios


def main(name: str) -> int:
    if not namespaces.inside():
        return namespaces.run_inside([sys.executable, "-m", "tests.host.run_scenario", name])
    base = namespaces.settle(*namespaces.python_roots())
    return asyncio.run(_live(base, scenarios.SCENARIOS[name]))


async def _live(base: Path, scenario: scenarios.Scenario) -> int:
    scene = Scene(base, scenario.options)
    async with scene.standing():
        try:
            async with asyncio.timeout(scenario.longest):
                await scenario.run(scene)
        except BaseException:
            print("\n".join(scene.last_words(40)), file=sys.stderr)
            raise
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
