"""Runs one fault scenario in its own private namespaces: python -m tests.host.inside NAME

The kernel ends whatever a day started when the day ends, however it ends.
"""

import asyncio
import sys
from pathlib import Path

from agent.sandbox.stage import namespaces
from agent.sandbox.stage.scene import Scene
from tests.host import bad_days


def main(name: str) -> int:
    if not namespaces.inside():
        return namespaces.run_inside([sys.executable, "-m", "tests.host.inside", name])
    base = namespaces.settle(*namespaces.python_roots())
    return asyncio.run(_live(base, bad_days.DAYS[name]))


async def _live(base: Path, day: bad_days.Day) -> int:
    scene = Scene(base, day.options)
    async with scene.standing():
        try:
            async with asyncio.timeout(bad_days.LONGEST):
                await day.run(scene)
        except BaseException:
            print("\n".join(scene.last_words(40)), file=sys.stderr)
            raise
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
