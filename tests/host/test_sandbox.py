"""The sandbox for a new user: the tour without pauses, and a session at the prompt."""

import contextlib
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from agent.cli import sandbox

CLOSED = """
import pathlib, sys
from agent.sandbox import main; from agent.sandbox.stage import first_day
first_day.MINIMAL = pathlib.Path({!r})
sys.exit(main.run(check=True, proxy=None, verbose=False, scenario="first-day"))
"""
FAIRLEAD = [sys.executable, "-m", "agent", "sandbox"]


def _ended(command: list[str], within: int) -> subprocess.CompletedProcess[str]:
    """The sandbox without a terminal, after at most so many seconds."""
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=within,
        stdin=subprocess.DEVNULL,
        env={**os.environ},
    )


@pytest.mark.real
def test_the_tour(root: None) -> None:
    done = _ended([*FAIRLEAD, "--check"], 300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "sandbox: 17 of 17 checks passed"


@pytest.mark.real
def test_proxy_upgrades_fail_no_request(root: None) -> None:
    """Of a client that chooses between two hosts by EndpointSlices; the scenario counts them."""
    done = _ended([*FAIRLEAD, "--check", "--scenario", "upgrade"], 400)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "sandbox: 7 of 7 checks passed"
    assert "reverted to 2.360.0 automatically" in done.stdout and "none failed" in done.stdout


@pytest.mark.real
def test_the_proxy_of_a_host_that_serves_alone_is_replaced_and_killed_and_no_request_fails(root: None) -> None:
    """Of a meshed client with one connection; each step counts its own, and says what its client sent again."""
    done = _ended([*FAIRLEAD, "--check", "--scenario", "hitless"], 400)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "sandbox: 6 of 6 checks passed"
    assert len(re.findall(r" 0 of \d{3,} failed", done.stdout)) == 6, done.stdout


@pytest.mark.real
@pytest.mark.parametrize("name", [name for name in sandbox.SCENARIOS if name.startswith("broken-")])
def test_the_doctor_names_the_cause_first_and_its_fix_cures_it(root: None, name: str) -> None:
    done = _ended([*FAIRLEAD, "--check", "--scenario", name], 600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "sandbox: 3 of 3 checks passed"


@pytest.mark.real
def test_a_dead_host_leaves_and_a_silent_fleet_stays(root: None) -> None:
    done = _ended([*FAIRLEAD, "--check", "--scenario", "dead-host"], 400)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "sandbox: 5 of 5 checks passed"
    assert "none is marked (FleetSilent)" in done.stdout


@pytest.mark.real
def test_a_host_joins_late_and_another_is_retired_and_no_request_fails(root: None) -> None:
    done = _ended([*FAIRLEAD, "--check", "--scenario", "fleet"], 400)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "sandbox: 4 of 4 checks passed"
    assert "its objects are deleted" in done.stdout and "none failed" in done.stdout


@pytest.mark.real
def test_the_first_day_of_a_host_by_the_page(root: None) -> None:
    """The scenario counts the failures of a plain client; here they are counted as it says."""
    done = _ended([*FAIRLEAD, "--scenario", "first-day"], 300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "sandbox: 10 of 10 checks passed"
    assert "│ Ready: " in done.stdout and done.stdout.count("none failed") == 10


@pytest.mark.real
def test_the_first_day_counts_and_names_each_request_that_fails(root: None, tmp_path: Path) -> None:
    """No client may find a port that is closed from the start."""
    minimal = tmp_path / "minimal.toml"
    text = (Path(__file__).parents[2] / "config/minimal.toml").read_text()
    minimal.write_text(text.replace("[redirect]", '[redirect]\ninbound_failure = "closed"'))
    done = _ended([sys.executable, "-c", CLOSED.format(str(minimal))], 300)
    assert done.returncode == 1, done.stdout + done.stderr
    assert re.search(r"\d+ of \d+ requests failed: \d+ × ClientConnectorError: ", done.stdout), done.stdout


def test_a_scenario_that_is_not_known_is_answered_with_those_that_are() -> None:
    def said(*words: str) -> tuple[int, str]:
        done = subprocess.run([*FAIRLEAD, *words], capture_output=True, text=True, env={**os.environ})
        return done.returncode, done.stdout + done.stderr

    code, output = said("--scenario", "firstday")
    assert code == 2 and "did you mean first-day?" in output
    code, output = said("--scenario", "xyz")
    assert code == 2 and all(name in output for name in sandbox.SCENARIOS)
    code, output = said("--list-scenarios")
    assert code == 0 and [line.split()[0] for line in output.splitlines()] == list(sandbox.SCENARIOS)


@pytest.mark.real
def test_a_visit(root: None) -> None:
    """Steps by Enter, a few verbs, one that is none, and the end of the input is the end of the visit."""
    typed = "\n\nstatus\nask\nkill agent\nask\nstart agent\nrules\nrotate\nlog\nnonsense\nhelp\n"
    done = subprocess.run(FAIRLEAD, input=typed, capture_output=True, text=True, timeout=120, env={**os.environ})
    assert done.returncode == 0, done.stdout + done.stderr
    for said in (
        "open until ready",
        "Ready=True (HostReady)",
        "through the proxy",
        "dnat to :4143",
        "│ Ready: ",
        "'nonsense' is not a command",
    ):
        assert said in done.stdout, done.stdout


@pytest.mark.real
def test_without_anybody_who_types_it_is_the_tour_in_one_go(root: None) -> None:
    done = subprocess.run(
        FAIRLEAD, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, env={**os.environ}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "standard input is not a terminal" in done.stdout and done.stderr == ""
    assert done.stdout.splitlines()[-1] == "sandbox: 17 of 17 checks passed"


@pytest.mark.real
def test_words_from_a_file(root: None, tmp_path: Path) -> None:
    words = tmp_path / "words"
    words.write_text("help\nquit\n")
    with words.open() as file:
        done = subprocess.run(
            FAIRLEAD, stdin=file, capture_output=True, text=True, timeout=120, env={**os.environ}
        )
    assert (done.returncode, done.stderr) == (0, "") and "the next step of the tour" in done.stdout


@pytest.mark.real
def test_the_shell_gives_the_terminal_back(root: None) -> None:
    """An interactive bash makes a group of its own, and takes the terminal for it."""
    child, terminal = pty.fork()
    if child == 0:
        os.execvpe(FAIRLEAD[0], FAIRLEAD, {**os.environ, "SHELL": "/bin/bash", "PS1": "on-host "})
    said = b""
    for awaited, typed in (
        (b"[Enter: ", b"shell\n"),
        (b"exit brings you back", b"echo at-$((40 + 2))\n"),
        (b"at-42", b"exit\n"),
        (b"[Enter: ", b"help\n"),
        (b"nothing is left", b"quit\n"),
    ):
        heard = b""
        while awaited not in heard:
            heard += os.read(terminal, 4096)
        said += heard
        os.write(terminal, typed)
    with contextlib.suppress(OSError):  # Linux ends a terminal that no process has open with EIO
        while os.read(terminal, 4096):
            pass
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, said.decode()


def test_it_leaves_nothing_on_the_machine(root: None) -> None:
    """Killed in the middle, by SIGKILL: no namespace, no mount, no process of it is left."""
    before = _traces()
    visit = subprocess.Popen(
        FAIRLEAD, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ}
    )
    assert visit.stdin is not None and visit.stdout is not None
    visit.stdin.write("\n")
    visit.stdin.flush()
    while "✓" not in visit.stdout.readline():
        assert visit.poll() is None
    visit.kill()
    visit.communicate()
    while left := _traces() - before:  # the kernel is at it
        assert all(line.startswith("process") for line in left), left


def _traces() -> set[str]:
    mounts = subprocess.run(
        ["cat", "/proc/self/mounts"], capture_output=True, text=True, check=True, env={**os.environ}
    ).stdout
    spaces = subprocess.run(
        ["ip", "netns", "list"], capture_output=True, text=True, check=True, env={**os.environ}
    ).stdout
    processes = subprocess.run(
        ["pgrep", "-f", "agent.sandbox.stage.app"], capture_output=True, text=True, env={**os.environ}
    ).stdout
    found = {
        *(f"mount {line}" for line in mounts.splitlines()),
        *(f"netns {line}" for line in spaces.splitlines()),
        *(f"process {pid}" for pid in processes.splitlines()),
    }
    return {line for line in found if "fl-" not in line}  # those of other tests, that may run beside this one
