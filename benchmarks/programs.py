"""What the programs take that live for a moment, of processor, beside the bare interpreter in the same run.
python -m benchmarks.programs [TREE] (root)

TREE: another checkout to compare with; its programs and these take turns. FAIRLEAD_PYTHON=FILE: an interpreter, as
the package's /usr/lib/fairlead/bin/python, in the place of this one with the checkout's libraries. Requests run in
a network namespace without rules; the programs of the proxy's unit are imported and do nothing.
"""

import asyncio
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.cli import screens
from tests.lab import netns

ROUNDS: Final = 20
HERE: Final = Path(__file__).parents[1]
PYTHON: Final = os.environ.get("FAIRLEAD_PYTHON", sys.executable)
_OWN: Final = [] if "FAIRLEAD_PYTHON" in os.environ else [path for path in sys.path if "site-packages" in path]
_START: Final = "import sys; sys.path[:0] = sys.argv.pop(1).split(':'); "
_COMMAND: Final = "from agent.cli.main import main; sys.exit(main())"
_HELPER: Final = "import runpy; runpy.run_module('agent.privileged.helper', run_name='__main__', alter_sys=True)"
_PAGES: Final = "getattr(arm, 'without_tls', int)(); import http.client"  # an older tree loads TLS as well


@dataclass(frozen=True)
class Program:
    code: str
    words: tuple[str, ...] = ()
    said: str = ""  # on standard input

    def run(self, space: netns.Namespace, tree: Path, prefix: Path) -> float:
        """Seconds of processor, of it and of the programs that it starts."""
        words = [str(prefix) if word == "PREFIX" else word for word in self.words]
        argv = [PYTHON, "-IS", "-c", _START + self.code, ":".join([str(tree), *_OWN]), *words]
        before = _of_children()
        done = subprocess.run(
            space.command(*argv), input=self.said, text=True, capture_output=True, check=False, env={**os.environ}
        )
        assert done.returncode in (0, 1), done.stderr  # 1: refused, as there is no configuration
        return _of_children() - before


BARE: Final = "python -IS -c pass"
PROGRAMS: Final = {
    BARE: Program("pass"),
    "fairlead status": Program(_COMMAND, ("status", "--prefix", "PREFIX")),
    "fairlead --version": Program(_COMMAND, ("--version",)),
    "fairlead --help": Program(_COMMAND, ("--help",)),
    "helper: redirect check": Program(_HELPER, ("--prefix", "PREFIX"), '{"verb": "redirect check"}\n'),
    "helper: proxy check": Program(_HELPER, ("--prefix", "PREFIX"), '{"verb": "proxy check"}\n'),
    "imports of proxyunit.start": Program("import runpy; from agent.proxyunit import start, at_once"),
    "imports of proxyunit.arm": Program(f"import runpy; from agent.proxyunit import arm, proof; {_PAGES}"),
    "imports of proxyunit.ended": Program("import runpy; from agent.proxyunit import ended"),
}


def _of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measured(trees: list[Path], prefix: Path) -> dict[tuple[str, Path], list[float]]:
    found: dict[tuple[str, Path], list[float]] = {(name, tree): [] for name in PROGRAMS for tree in trees}
    with netns.namespace() as space:
        for _ in range(ROUNDS):
            for (name, tree), seconds in found.items():
                seconds.append(PROGRAMS[name].run(space, tree, prefix))
    return found


def show(found: dict[tuple[str, Path], list[float]], trees: list[Path]) -> None:
    print(f"processor in ms: least and median of {ROUNDS}, and the least as a multiple of the bare interpreter's")
    bare = min(min(found[BARE, tree]) for tree in trees)
    for name in PROGRAMS:
        columns = []
        for tree in trees:
            least, median = min(found[name, tree]), statistics.median(found[name, tree])
            columns.append(f"{least * 1000:>8.1f}{median * 1000:>8.1f}{least / bare:>7.1f}")
        print(f"{name:<30}{'   '.join(columns)}")


def compiled(tree: Path) -> Path:
    """As a package has it."""
    subprocess.run([PYTHON, "-m", "compileall", "-q", str(tree / "agent")], check=True, env={**os.environ})
    return tree


async def main() -> None:
    trees = [await asyncio.to_thread(compiled, tree) for tree in (*map(Path, sys.argv[1:]), HERE)]
    load = ", ".join(f"{one:.1f}" for one in os.getloadavg())
    print(f"{PYTHON}, kernel {os.uname().release}, {os.cpu_count()} cores, load {load}, {time.strftime('%F')}")
    with tempfile.TemporaryDirectory() as folder:
        async with screens.agent(Path(folder), "ready"):
            show(await asyncio.to_thread(measured, trees, Path(folder)), trees)


if __name__ == "__main__":
    asyncio.run(main())
