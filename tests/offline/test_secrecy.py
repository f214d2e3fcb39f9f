"""No core file of a program that holds a token or a key, also where the machine's administrator asks for them."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

# Core files are asked for; then the program ends by a signal that makes one.
DIES = "import os, resource, signal; {}os.kill(os.getpid(), signal.SIGQUIT)"
ASKED = "resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY,) * 2); "
REFUSED = "from agent.host import secrecy; secrecy.no_core_files(); "


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


ROOT = Path(__file__).parents[2]
# Every program, by the way it is started, and a command line with which it ends at once.
SECRET = {
    "agent.__main__": ("runpy.run_module('agent', run_name='__main__')", "--version"),
    "the package's command": (
        f"runpy.run_path('{ROOT}/packaging/files/fairlead', run_name='__main__')",
        "--version",
    ),
    "the console script": ("from agent.cli.main import main; sys.exit(main())", "--version"),
    "fairlead status without an agent": ("from agent.cli.main import main; sys.exit(main())", "status"),
    "agent.proxyunit.gate": ("runpy.run_module('agent.proxyunit.gate', run_name='__main__')", "no-such-word"),
    "agent.proxyunit.start": ("import agent.proxyunit.start as s; s.main('/no/such/prefix')", ""),
    "agent.offline.preflight": ("runpy.run_module('agent.offline.preflight', run_name='__main__')", ""),
    "agent.offline.doctor.users": (
        "runpy.run_module('agent.offline.doctor.users', run_name='__main__')",
        "no-such-word",
    ),
}
# Why a program may be dumped: what it holds is no secret, or it is no program of a host.
NO_SECRET = {
    "agent.privileged.helper.__main__": "the privileged helper reads no token and no key",
    "agent.proxyunit.hooks": "it asks the privileged helper",
    "agent.proxyunit.arm": "it has no key and no token",
    "agent.proxyunit.ended": "it has no key and no token",
    "agent.proxyunit.takeover": "it has no key and no token",
    "agent.sandbox.stage.app": "the sandbox's application",
    "agent.sandbox.stage.http2_app": "the sandbox's application, of HTTP/2",
    "agent.sandbox.stage.greeter": "the sandbox's mail server",
    "agent.sandbox.stage.late": "the sandbox's late clock; it runs agent.__main__",
}
_ENDS = """
import ctypes, resource, runpy, sys
sys.argv = ["program", *filter(None, [{word!r}])]
try:
    {program}
except SystemExit:
    pass
print("", ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), resource.getrlimit(resource.RLIMIT_CORE)[0])
"""


def test_every_program_is_either_of_the_two() -> None:
    found = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in ROOT.glob("agent/**/*.py")
        if re.search(r"^if __name__ == ", path.read_text(), re.MULTILINE)
    }
    assert found == {name for name in SECRET if name.startswith("agent.")} | set(NO_SECRET)


@pytest.mark.parametrize("name", SECRET)
def test_a_program_that_may_hold_a_secret_leaves_no_core_file(name: str) -> None:
    """PR_GET_DUMPABLE, and the limit, when it has ended."""
    program, word = SECRET[name]
    text = _ENDS.format(program=program, word=word)
    done = subprocess.run(
        [sys.executable, "-c", text], capture_output=True, text=True, check=True, env=_environment()
    )
    assert done.stdout.splitlines()[-1].split() == ["0", "0"], done.stderr


def _end(argv: list[str], folder: Path) -> int:
    """How the program ended, as waitpid tells it."""
    child = os.posix_spawn("/bin/sh", ["sh", "-c", 'cd "$0" && exec "$@"', str(folder), *argv], _environment())
    return os.waitpid(child, 0)[1]


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
