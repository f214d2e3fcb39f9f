"""No core file of the agent, also where the machine's administrator asks for them."""

import os
import sys
from pathlib import Path

import pytest

# Core files are asked for; then the program ends by a signal that makes one.
DIES = "import os, resource, signal; {}os.kill(os.getpid(), signal.SIGQUIT)"
ASKED = "resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY,) * 2); "
REFUSED = "from agent.daemon import secrecy; secrecy.no_core_files(); "


@pytest.mark.parametrize(
    ("does", "dumped"),
    [(ASKED, True), (ASKED + REFUSED, False), (ASKED + REFUSED + ASKED, False)],
    ids=["asked for", "refused", "refused, and the limit raised again"],
)
def test_core_file_with_the_token_in_it(root: None, tmp_path: Path, does: str, dumped: bool) -> None:
    """The kernel's own word; `asked for` shows that this machine would make one."""
    status = _end([sys.executable, "-c", DIES.format(does)], tmp_path)
    assert os.WIFSIGNALED(status)
    assert os.WCOREDUMP(status) is dumped


def _end(argv: list[str], folder: Path) -> int:
    """How the program ended, as waitpid tells it."""
    child = os.posix_spawn("/bin/sh", ["sh", "-c", 'cd "$0" && exec "$@"', str(folder), *argv], _environment())
    return os.waitpid(child, 0)[1]


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
