"""The program itself: what it answers, and how it ends."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.adapters.helper import PROGRAM
from tests.lab.netns import namespace
from tests.privileged.helper_requests import CHECK, REMOVE, REPOSITORY, apply, ask, start
from tests.privileged.hosts import APP, Host, Listeners, files, listening


@pytest.fixture
def host(root: None, tmp_path: Path) -> Iterator[Host]:
    files(tmp_path)
    with namespace() as space:
        yield Host(space, space, tmp_path)


@pytest.fixture
def proxy(host: Host) -> Iterator[Listeners]:
    with Listeners() as ears:
        ears.add_listeners(host.space)
        yield ears


def rules(host: Host) -> str:
    return host.space.run("nft", "list", "ruleset")


def test_what_is_asked_is_done_and_answered(host: Host, proxy: Listeners) -> None:
    assert ask(host, CHECK) == (0, {"ok": True, "inbound": "off", "outbound": "off"})
    assert ask(host, apply("on", "block")) == (0, {"ok": True, "inbound": "on", "outbound": "block"})
    assert ask(host, CHECK) == (0, {"ok": True, "inbound": "on", "outbound": "block"})
    proxy.end()
    assert ask(host, REMOVE) == (0, {"ok": True, "inbound": "off", "outbound": "off"})
    assert rules(host) == ""


def test_a_request_is_a_line_and_needs_no_end_of_file(host: Host) -> None:
    with start(host) as helper:
        assert helper.stdin and helper.stdout
        helper.stdin.write(json.dumps(CHECK).encode() + b"\n")
        helper.stdin.flush()
        assert json.loads(helper.stdout.readline())["ok"] is True


@pytest.mark.parametrize("request_", [b"", b"GET / HTTP/1.1\r\n\r\n", b"x" * 100_000, b'{"verb": "rm -rf /"}\n'])
def test_no_request_is_answered_too_and_changes_nothing(host: Host, request_: bytes) -> None:
    code, answer = ask(host, request_)
    assert code == 64
    assert answer["ok"] is False
    assert answer["reason"] == "HelperRefused"
    assert rules(host) == ""


@pytest.mark.parametrize("arguments", [["--prefix"], ["--prefix", "relative"], ["--verb", "x"], ["x"]])
def test_no_such_command_line(arguments: list[str]) -> None:
    done = subprocess.run(
        [*PROGRAM, *arguments], capture_output=True, env={"PYTHONPATH": str(REPOSITORY)}, check=False
    )
    assert done.returncode == 64
    assert b"usage:" in done.stderr


def test_a_caller_that_says_nothing_is_left(host: Host) -> None:
    with start(host) as helper:
        assert helper.stdout
        answer = json.loads(helper.stdout.readline())
        assert (answer["ok"], answer["reason"]) == (False, "HelperRefused")
        assert helper.wait() == 1


def test_a_configuration_that_others_may_write_is_refused(host: Host) -> None:
    host.config.chmod(0o664)
    code, answer = ask(host, apply("on", "on"))
    assert (code, answer["reason"]) == (1, "ConfigurationUnusable")
    assert "users other than its owner may write it" in str(answer["detail"])
    assert rules(host) == ""


def test_letting_go_needs_no_configuration(host: Host, proxy: Listeners) -> None:
    ask(host, apply("on", "on"))
    host.config.write_text("broken")
    assert "not valid TOML" in str(ask(host, CHECK)[1]["edited"])
    code, answer = ask(host, apply("released", "released"))
    assert (code, answer["inbound"], answer["outbound"]) == (0, "released", "released")
    assert "guard: the proxy to an undeclared port" in rules(host)
    proxy.end()
    assert ask(host, REMOVE) == (0, {"ok": True, "inbound": "off", "outbound": "off"})


def test_without_redirect_nothing_but_tracking_can_be_asked_for(host: Host) -> None:
    host.config.write_text(host.config.read_text().replace("[redirect]", '[redirect]\nmode = "off"'))
    assert ask(host, apply("block", "released"))[1]["reason"] == "RedirectRefused"
    assert ask(host, apply("released", "released"))[0] == 0


@pytest.mark.parametrize("address", ["0.0.0.0", "::"])
def test_a_port_on_which_sshd_listens_now_is_refused(host: Host, proxy: Listeners, address: str) -> None:
    with listening(host.space, "sshd", address, APP):
        code, answer = ask(host, apply("on", "on"))
        assert (code, answer["reason"]) == (1, "RedirectRefused")
        assert answer["detail"] == f"cannot redirect port {APP}: sshd listens there"
        assert rules(host) == ""
        assert ask(host, apply("block", "on"))[1]["inbound"] == "block"  # of the other ports
        assert "tcp dport 8080" not in rules(host)
    assert ask(host, apply("on", "on"))[0] == 0


def test_an_sshd_that_cannot_be_looked_at_is_not_taken_for_none(host: Host) -> None:
    """Reading the sockets of a process with more rights takes CAP_SYS_PTRACE."""
    without = ("setpriv", "--bounding-set", "-sys_ptrace", "--inh-caps", "-sys_ptrace")
    with listening(host.space, "sshd", "0.0.0.0", 2222):
        code, answer = ask(host, apply("on", "on"), *without)
    assert (code, answer["reason"]) == (1, "RedirectForbidden")
    assert "cannot find where sshd listens" in str(answer["detail"])


def test_the_phase_is_remembered(host: Host) -> None:
    path = host.prefix / "var/lib/fairlead/phase"
    for phase in ("left", "member", "drained"):
        assert ask(host, {"verb": "phase set", "phase": phase}) == (0, {"ok": True, "phase": phase})
        assert path.read_text() == f"{phase}\n"


def test_a_phase_that_cannot_be_written_is_said(host: Host) -> None:
    shutil.rmtree(host.prefix / "var/lib/fairlead")
    (host.prefix / "var/lib/fairlead").write_text("no directory")
    code, answer = ask(host, {"verb": "phase set", "phase": "left"})
    assert (code, answer["reason"]) == (1, "PhaseUnwritable")
    assert str(answer["detail"]).endswith(": File exists")


def test_it_is_made_of_the_standard_library_core_and_config() -> None:
    program = "import sys, agent.privileged.helper.__main__; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-S", "-P", "-c", program],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(REPOSITORY)},
        check=True,
    )
    loaded = set(done.stdout.split())
    ours = {name for name in loaded if name.startswith("agent.")}
    assert {name.split(".")[1] for name in ours} <= {"privileged", "core", "config", "host"}
    assert {name.partition(".")[0] for name in loaded - ours} <= {*sys.stdlib_module_names, "agent", "__main__"}
    assert "asyncio" not in loaded
