"""What root leaves for the next restart of the proxy, and what it does: on the kernel, without the agent."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.core import prepared as forms
from agent.host import Host as Paths
from agent.proxyunit import prepared
from tests.privileged.helper_requests import REMOVE, REPOSITORY
from tests.privileged.hosts import CONFIG, PROXY_UID, Host, Listeners
from tests.privileged.levels import ARM, BLOCKED, CONFIRM, FAILED, LONG_TRIAL, NOW, ON, done, levels

RECORD = {"verb": "ready record"}
_PROGRAM = "import sys; from agent.proxyunit import {0}; sys.exit({0}.main(sys.argv[1]))"


def plan(host: Host) -> forms.Plan | None:
    return prepared.plan(str(host.prefix))


def hook(host: Host, name: str, *, whole: bool = False, **environment: str) -> str:
    """What it prints, as the proxy's unit runs it; where it would take the tested path, "tested". `whole`: it
    does."""
    done = ran(host, name, whole=whole, **environment)
    assert done.stderr == ""
    return done.stdout


def ran(host: Host, name: str, *, whole: bool, **environment: str) -> "subprocess.CompletedProcess[str]":
    program = _PROGRAM.format(name)
    tested = "import agent.proxyunit.prepared as p\n"
    tested += "" if whole else "p.tested_path = lambda _, words: print('tested', *words) or 0\n"
    command = host.space.command(sys.executable, "-SP", "-c", tested + program, str(host.prefix))
    return subprocess.run(
        command,
        env={"PYTHONPATH": str(REPOSITORY), **environment},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )


def rules(host: Host) -> str:
    """Without what counts, and without the time that is left."""
    return re.sub(r"expires \w+", "", host.space.run("nft", "-s", "list", "ruleset"))


def ended(host: Host) -> str:
    return hook(host, "ended", SERVICE_RESULT="signal", EXIT_CODE="killed", EXIT_STATUS="KILL")


def armed(host: Host) -> str:
    return hook(host, "arm", MAINPID=str(os.getpid()))


CLOSED = "new connections to port 8080 are reset for everybody, until the proxy is ready"
PREPARED_END = f"the proxy has ended: {CLOSED}"


@pytest.fixture
def served(host: Host, ears: Listeners) -> Host:
    """A host whose proxy is ready, as root's configuration was applied."""
    ears.add_proxy(host.space)
    host.config.write_text(CONFIG.replace("/etc/anchors.pem", f"{host.prefix}/anchors.pem"))
    renew_anchors(host)
    assert plan(host) is None
    assert levels(host, NOW) == ON
    return host


def test_after_an_apply_the_policy_and_the_redirect_are_set_by_the_prepared_rules(served: Host) -> None:
    found = plan(served)
    assert found is not None and found.uid == PROXY_UID and found.binary == os.path.realpath("/bin/true")
    assert found.environment["LINKERD2_PROXY_INBOUND_PORTS"] == "8080"
    assert found.workload_api.endswith(".sock") and found.spiffe_id.startswith("spiffe://")
    for _ in range(2):
        assert ended(served) == f"{PREPARED_END} (prepared)\n"
        assert levels(served) == BLOCKED
        assert armed(served) == "the proxy is ready: the redirect is ON (prepared)\n"
        assert levels(served) == ON
    folder = Paths(served.prefix).prepared
    ends = (folder / forms.ENDED).read_text().splitlines()
    assert [end.split()[1:] for end in ends] == [["signal", "killed", "KILL"]] * 2
    pid, _, _ = forms.read_armed((folder / forms.ARMED).read_text()) or (0, 0, 0)
    assert pid == os.getpid()


def test_what_is_prepared_is_what_the_tested_path_sets(served: Host) -> None:
    """Rule by rule."""
    for by_hand, by_plan in ((FAILED, ended), (ARM, armed)):
        done(served, by_hand)
        tested = rules(served)
        served.space.run("nft", "flush chain inet fairlead inbound")
        by_plan(served)
        assert rules(served) == tested


def test_the_plan_of_arm_is_as_good_as_that_of_an_operator(host: Host, ears: Listeners) -> None:
    admin = ears.add_proxy(host.space)
    done(host, FAILED)
    admin.answered = False
    assert levels(host, ARM) == ("on", "released")
    assert plan(host) is None, "outbound is not ON yet, so that was not tested"
    admin.answered = True
    assert levels(host, ARM) == ON
    assert plan(host) is not None


def test_outbound_waits_for_the_policy_controller_here_too(host: Host, ears: Listeners) -> None:
    host.config.write_text(host.config.read_text() + 'outbound_failure = "closed"\n')
    admin = ears.add_proxy(host.space)
    assert levels(host, NOW) == ON
    ended(host)
    admin.answered = False
    with subprocess.Popen(["sleep", "60"], env={**os.environ}) as process:
        program = host.space.command(sys.executable, "-SP", "-c", _PROGRAM.format("arm"), str(host.prefix))
        environment = {"PYTHONPATH": str(REPOSITORY), "MAINPID": str(process.pid)}
        with subprocess.Popen(program, env=environment, stdout=subprocess.PIPE, text=True) as arming:
            assert arming.stdout is not None
            assert "waits for the policy controller" in arming.stdout.readline()
            assert levels(host) == ("on", "block")
            admin.answered = True
            assert "ON (prepared)" in arming.stdout.readline()
        assert arming.returncode == 0
        process.kill()
    assert levels(host) == ON


def edit(host: Host) -> None:
    host.config.write_text(host.config.read_text() + "# later\n")


def suspend(host: Host) -> None:
    done(host, REMOVE)


def on_trial(host: Host) -> None:
    host.config.write_text(host.config.read_text().replace("[8080]", "[8081]"))
    done(host, LONG_TRIAL)


def leave(host: Host) -> None:
    done(host, {"verb": "phase set", "phase": "left"})


def renew_anchors(host: Host) -> None:
    text = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    (host.prefix / "anchors.pem").write_text(text)


def outdate(host: Host) -> None:
    """As an upgrade of the package: the files of the version before are gone."""
    path = Paths(host.prefix).prepared / forms.PLAN
    found = path.read_text()
    assert str(REPOSITORY) in found
    path.write_text(found.replace(f"{REPOSITORY}/agent/", f"{REPOSITORY}/before/"))


def spoil(host: Host) -> None:
    (Paths(host.prefix).prepared / forms.PLAN).chmod(0o666)


def empty(host: Host) -> None:
    """Another program has emptied /run, or the disk was full when it was to be prepared again."""
    shutil.rmtree(Paths(host.prefix).prepared)


def cut(host: Host) -> None:
    path = Paths(host.prefix).prepared / forms.PLAN
    path.write_text(path.read_text()[:-10])


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(edit, id="configuration"),
        pytest.param(suspend, id="suspension"),
        pytest.param(on_trial, id="trial"),
        pytest.param(leave, id="leave"),
        pytest.param(renew_anchors, id="anchors"),
        pytest.param(spoil, id="written by others"),
        pytest.param(cut, id="not whole"),
        pytest.param(lambda host: host.space.run("nft", "flush ruleset"), id="flushed"),
    ],
)
def test_anything_unusual_takes_the_tested_path(served: Host, change: Callable[[Host], object]) -> None:
    change(served)
    before = rules(served)
    assert armed(served) == "tested arm\n"
    assert ended(served) == "tested failed\n"
    assert rules(served) == before


@pytest.mark.parametrize("change", [edit, renew_anchors, cut, outdate, empty], ids=lambda change: change.__name__)
def test_the_next_look_at_the_rules_prepares_again_what_holds_no_longer(
    served: Host, change: Callable[[Host], object]
) -> None:
    assert prepared.lost(str(served.prefix)) == ""
    change(served)
    assert plan(served) is None
    assert prepared.lost(str(served.prefix)) != ""
    assert levels(served) == ON
    assert plan(served) is not None
    assert prepared.lost(str(served.prefix)) == ""
    assert ended(served) == f"{PREPARED_END} (prepared)\n"


def test_what_others_could_have_written_is_removed_and_then_prepared_again(served: Host) -> None:
    spoil(served)
    assert levels(served) == ON
    assert plan(served) is None
    assert levels(served) == ON
    assert plan(served) is not None


@pytest.mark.parametrize("change", [suspend, on_trial, leave], ids=lambda change: change.__name__)
def test_but_nothing_where_the_agent_may_not_set_these_rules(
    served: Host, change: Callable[[Host], object]
) -> None:
    change(served)
    for _ in range(2):
        levels(served)
        assert plan(served) is None


def test_the_tested_path_closes_what_another_program_has_flushed(served: Host) -> None:
    served.space.run("nft", "flush ruleset")
    assert hook(served, "ended", whole=True) == f"{PREPARED_END}\n"
    assert levels(served) == BLOCKED
    assert ended(served) == f"{PREPARED_END} (prepared)\n", "there are rules to replace again"


def test_what_was_on_trial_and_is_confirmed_is_prepared(served: Host) -> None:
    on_trial(served)
    done(served, CONFIRM)
    found = plan(served)
    assert found is not None and found.environment["LINKERD2_PROXY_INBOUND_PORTS"] == "8081"
    assert ended(served).startswith("the proxy has ended: new connections to port 8081 are reset")


def test_the_first_ready_closes_what_was_prepared_open(host: Host, ears: Listeners) -> None:
    host.config.write_text(CONFIG.replace('inbound_failure = "closed"\n', ""))
    ears.add_proxy(host.space)
    done(host, NOW)
    ended(host)
    assert levels(host) == ("released", "released")
    armed(host)
    done(host, RECORD)
    assert ended(host).startswith(PREPARED_END)
    assert levels(host) == BLOCKED


@pytest.mark.parametrize("lines", ['inbound = "all"', 'backend = "iptables-nft"'], ids=["all", "iptables"])
def test_rules_that_depend_on_listeners_or_are_of_iptables_are_not_prepared(
    host: Host, ears: Listeners, lines: str
) -> None:
    host.config.write_text(host.config.read_text() + f"{lines}\n")
    ears.add_proxy(host.space)
    done(host, NOW)
    found = plan(host)
    assert found is not None and found.nft == ""
    assert ended(host) == "tested failed\n"
    assert armed(host) == "tested arm\n"


def test_a_stranger_on_the_listener_gets_nothing(served: Host, ears: Listeners) -> None:
    ended(served)
    ears.end()
    with Listeners() as strangers:
        strangers.add_proxy(served.space, uid=1000)
        with subprocess.Popen(["true"], env={**os.environ}) as process:
            process.wait()
        program = served.space.command(sys.executable, "-SP", "-c", _PROGRAM.format("arm"), str(served.prefix))
        environment = {"PYTHONPATH": str(REPOSITORY), "MAINPID": str(process.pid)}
        done_ = subprocess.run(program, env=environment, capture_output=True, text=True, check=False, timeout=60)
        assert done_.returncode == 1
        assert levels(served) == BLOCKED


def test_while_the_helper_works_the_tested_path_waits_for_it(served: Host) -> None:
    import fcntl

    with Path(Paths(served.prefix).helper_lock).open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert ended(served) == "tested failed\n"
