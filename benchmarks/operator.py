"""What an operator's looks at a host cost: `fairlead doctor`, `fairlead status`, a scrape, and the memory that
scrapes take. python -m benchmarks.operator (root)

In the sandbox: the real agent as a process on a host that is Ready, with five probes. The commands run as the
package runs them, by the bare interpreter (-IS), with the libraries of a checkout.
"""

import asyncio
import http.client
import os
import resource
import socket
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from agent.sandbox.stage import namespaces
from agent.sandbox.stage.scene import PORT, Options, Scene
from agent.sandbox.stage.tour import is_ready, until
from benchmarks.idle import memory

LOOKS, DOCTORS, SCRAPES = 20, 5, 50
SETTLED = 5.0  # seconds from Ready on
PAGES = ("/metrics", "/metrics/all")
MORE_PROBES = "".join(
    f'[[probe]]\nname = "app-{n}"\nkind = "tcp"\nport = {PORT}\nperiod = 10\n' for n in range(2, 6)
)
COMMAND = (
    "import sys; sys.path[:0] = sys.argv.pop(1).split(':'); from agent.cli.main import main; sys.exit(main())"
)
LIBRARIES = ":".join([str(Path(__file__).parents[1]), *(path for path in sys.path if "site-packages" in path)])


async def command(scene: Scene, *words: str) -> tuple[float, float]:
    """Seconds of a command, and those of processor of it and of what it starts; of the bare interpreter, without
    words."""
    fairlead = (COMMAND, LIBRARIES, *words, "--prefix", str(scene.prefix))
    began, before = time.monotonic(), _of_children()
    code, said = await scene.run_on_host(sys.executable, "-IS", "-c", *(fairlead if words else ("pass",)))
    took = time.monotonic() - began, _of_children() - before
    assert code == 0, said
    return took


def _of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def scrape(path: Path, page: str) -> tuple[float, float]:
    """Seconds of a scrape on a connection of its own, and KiB of the page."""
    began = time.monotonic()
    connection = http.client.HTTPConnection("localhost")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(str(path))
    connection.request("GET", page)
    size = len(connection.getresponse().read())
    connection.close()
    return time.monotonic() - began, size / 1024


async def scrapes(scene: Scene) -> None:
    """The first alone, because it imports the library."""
    assert scene.agent is not None
    pid, path = scene.agent.pid, scene.prefix / "run/fairlead/fairlead.sock"
    before = _resident(pid)
    first, _ = await asyncio.to_thread(scrape, path, PAGES[0])
    after = _resident(pid)
    for page in PAGES:
        found = [await asyncio.to_thread(scrape, path, page) for _ in range(SCRAPES)]
        print(f"{page}: {_spread([seconds for seconds, _ in found])}, {found[-1][1]:.0f} KiB")
    print(
        f"the first scrape: {first * 1000:.0f} ms; the agent's RSS is then {after - before:.1f} MiB more, ",
        end="",
    )
    print(f"and after {len(PAGES) * SCRAPES} scrapes {_resident(pid) - before:.1f} MiB")


def _resident(pid: int) -> float:
    return memory(pid)[0]["Rss"] / 1024


def _spread(seconds: Sequence[float]) -> str:
    least, median, most = (1000 * of(seconds) for of in _OF)
    return f"{median:.1f} ms (median of {len(seconds)}; {least:.1f} to {most:.1f})"


_OF: tuple[Callable[[Sequence[float]], float], ...] = (min, statistics.median, max)


async def measure(scene: Scene) -> None:
    await scene.start_app()
    await scene.start_agent()
    await until(scene, is_ready, "Ready")
    await asyncio.sleep(SETTLED)
    for verb, times in (("", LOOKS), ("status", LOOKS), ("doctor", DOCTORS)):
        found = [await command(scene, *filter(None, [verb])) for _ in range(times)]
        walls, processor = zip(*found, strict=True)
        print(f"{verb or 'the bare interpreter'}: {_spread(walls)}, of processor {_spread(processor)}")
    await scrapes(scene)


async def live(base: Path) -> None:
    scene = Scene(base, Options(probe_period=10.0, svid_ttl=3600.0, extra=MORE_PROBES))
    async with scene.standing():
        await measure(scene)


def main() -> int:
    if not namespaces.inside():
        return namespaces.run_inside([sys.executable, "-m", "benchmarks.operator"])
    load = ", ".join(f"{one:.1f}" for one in os.getloadavg())
    print(f"Python {sys.version.split()[0]}, kernel {os.uname().release}, {os.cpu_count()} cores, load {load}")
    asyncio.run(live(namespaces.settle(*namespaces.python_roots())))
    return 0


if __name__ == "__main__":
    sys.exit(main())
