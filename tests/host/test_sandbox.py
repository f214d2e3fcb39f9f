"""The sandbox as a newcomer meets it: the tour in one go, and a visit at the prompt."""

import os
import subprocess
import sys

import pytest

FAIRLEAD = [sys.executable, "-m", "agent", "sandbox"]


@pytest.mark.real
def test_the_tour(root: None) -> None:
    done = subprocess.run(
        [*FAIRLEAD, "--check"],
        capture_output=True,
        text=True,
        timeout=300,
        stdin=subprocess.DEVNULL,
        env={**os.environ},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "sandbox: 16 of 16 checks passed"


@pytest.mark.real
def test_proxy_upgrades_fail_no_request(root: None) -> None:
    """Of a client that chooses between two hosts by EndpointSlices; the scenario counts them."""
    done = subprocess.run(
        [*FAIRLEAD, "--check", "--scenario", "upgrade"],
        capture_output=True,
        text=True,
        timeout=400,
        stdin=subprocess.DEVNULL,
        env={**os.environ},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "sandbox: 7 of 7 checks passed"
    assert "back to 2.360.0 by itself" in done.stdout and "none failed" in done.stdout


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
        "'nonsense' is not known here",
    ):
        assert said in done.stdout, done.stdout


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
        ["pgrep", "-f", "agent.sandbox.app"], capture_output=True, text=True, env={**os.environ}
    ).stdout
    found = {
        *(f"mount {line}" for line in mounts.splitlines()),
        *(f"netns {line}" for line in spaces.splitlines()),
        *(f"process {pid}" for pid in processes.splitlines()),
    }
    return {line for line in found if "fl-" not in line}  # those of other tests, that may run beside this one
