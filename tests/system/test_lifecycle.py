"""What the .deb does to a host, on a really booted Debian 11, 12 and 13: nothing that was not requested."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from agent import __version__
from agent.core import prepared
from tests.lab.machine import Machine
from tests.system import built_packages, interrupted_upgrade
from tests.system import host as on_host
from tests.system.host import CONFIG, STARTED, SUITES, active, configured, dpkg, install, invocations, put, state

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("root")]
OLDER, OLDEST = "0.0.9", "0.0.8"
AGENT = "fairlead.service"
PYTHON = "/usr/lib/fairlead/bin/python"


@pytest.fixture(params=SUITES)
def host(request: pytest.FixtureRequest) -> Iterator[Machine]:
    """A booted Debian that has never seen fairlead."""
    with on_host.booted(request.param) as made:
        yield made


@pytest.fixture
def debian() -> Iterator[Machine]:
    """The same, of one kind: where nothing depends on the suite."""
    with on_host.booted(SUITES[0]) as made:
        yield made


NEXT = "fairlead: nothing runs yet; next: /usr/share/doc/fairlead/docs/getting-started.md"


def told(said: str) -> list[str]:
    return [line for line in said.splitlines() if line.startswith("fairlead: ")]


# install ------------------------------------------------------------------------------------------------


def test_an_installation_starts_nothing_and_a_reboot_neither(host: Machine) -> None:
    assert told(install(host)) == [NEXT]
    assert told(install(host)) == [], "only a new installation says what to do next"
    for _ in range(2):
        assert active(host) == set()
        assert host.systemctl("--failed", "--plain", "--no-legend") == ""
        assert host.run("nft", "list", "ruleset") == ""
        host.reboot()


def test_its_users_share_nothing(host: Machine) -> None:
    install(host)
    groups = {user: host.run("id", "--groups", "--name", user).split() for user in ("fairlead", "fairlead-proxy")}
    assert groups == {"fairlead": ["fairlead"], "fairlead-proxy": ["fairlead-proxy"]}
    for user in groups:
        assert host.run("getent", "passwd", user).rstrip().endswith(":/usr/sbin/nologin")
        assert ":!*:" in host.run("getent", "shadow", user)
    asked = [
        "/etc/fairlead",
        "/var/lib/fairlead",
        "/var/lib/fairlead/agent",
        "/var/lib/fairlead/proxy",
        "/run/fairlead-push",
        "/run/fairlead-token",
    ]
    assert host.run("stat", "--format=%n %a %U:%G", *asked).splitlines() == [
        "/etc/fairlead 755 root:root",
        "/var/lib/fairlead 755 root:root",
        "/var/lib/fairlead/agent 700 fairlead:fairlead",
        "/var/lib/fairlead/proxy 755 root:root",
        "/run/fairlead-push 2750 fairlead:fairlead-push",
        "/run/fairlead-token 2750 fairlead:fairlead-proxy",
    ]


def test_the_interpreter_needs_nothing_of_the_host(host: Machine) -> None:
    install(host)
    assert host.run("fairlead", "--version", user="fairlead") == f"fairlead {__version__}\n"
    program = "import agent.daemon.configurations, agent.proxyunit.gate, agent.adapters.kube.jwt_svid, ssl, sys"
    program += "; print(*sorted(m.__file__ for m in sys.modules.values() if getattr(m, '__file__', None)))"
    files = host.run(PYTHON, "-IS", "-c", program).split()
    assert len(files) > 300
    assert [path for path in files if not path.startswith(f"/usr/lib/fairlead/{__version__}-")] == []
    example = "/usr/share/doc/fairlead/examples/fairlead.toml"
    assert host.run("fairlead", "check-config", example).splitlines()[0] == f"{example}: good"
    refused = host.try_run("fairlead", "sandbox")
    assert refused.returncode == 69 and "make sandbox" in refused.stderr


def test_what_is_configured_starts_and_returns_after_a_reboot(host: Machine) -> None:
    install(host)
    configured(host)
    host.reboot()
    host.wait_for(AGENT)
    assert active(host) == {*STARTED, AGENT}, "and no proxy: nobody has an identity here"


# remove, purge ------------------------------------------------------------------------------------------


def test_a_purge_leaves_nothing(host: Machine) -> None:
    before = state(host)
    install(host)
    configured(host)
    dpkg(host, "--purge", "fairlead")
    assert state(host) == before


_REQUEST = '{"verb": "proxy start"}\n'


def test_a_purge_leaves_no_drop_in_no_unit_and_nothing_prepared_of_this_boot(debian: Machine) -> None:
    """The privileged helper has made one, and an administrator others."""
    before = state(debian)
    install(debian)
    configured(debian)
    debian.run(PYTHON, "-IS", "-m", "agent.privileged.helper", "--prefix", "/", input=_REQUEST)
    for name in (prepared.PLAN, prepared.ENDED, *prepared.SCRIPTS):
        debian.write(f"/{prepared.FOLDER}/{name}", "")
    debian.systemctl("set-property", "--runtime", AGENT, "MemoryMax=900M")
    debian.systemctl("mask", "--runtime", "fairlead-wait.service")
    debian.write(f"/run/systemd/system/{AGENT}.d/admins.conf", "[Service]\nMemoryMax=900M\n")
    made = debian.run("find", "/run/systemd/system", "/run/systemd/system.control", "-name", "*fairlead*")
    assert len(made.splitlines()) == 4, made
    dpkg(debian, "--remove", "fairlead")
    left = debian.run("find", "/run/systemd/system", "-name", "*fairlead*")
    assert "fairlead-proxy.service.d" not in left and "fairlead.service.d" in left
    dpkg(debian, "--purge", "fairlead")
    assert state(debian) == before


def test_a_purge_after_a_removal_leaves_nothing(debian: Machine) -> None:
    before = state(debian)
    install(debian)
    configured(debian)
    dpkg(debian, "--remove", "fairlead")
    dpkg(debian, "--purge", "fairlead")
    assert state(debian) == before


def test_a_removal_keeps_what_was_configured_and_nothing_that_runs(host: Machine) -> None:
    before = state(host)
    install(host)
    text = configured(host)
    dpkg(host, "--remove", "fairlead")
    assert replace(state(host), files=before.files, users=before.users) == before
    assert host.read(CONFIG) == text
    install(host)
    host.wait_until(lambda: active(host) == set(STARTED), "what was configured runs again")


def test_a_removal_takes_the_rules_away(debian: Machine) -> None:
    install(debian)
    configured(debian)
    debian.run("nft", "add table inet fairlead")
    debian.run("nft", "add chain inet fairlead mine")
    debian.run("nft", "add table inet theirs")
    dpkg(debian, "--remove", "fairlead")
    assert debian.run("nft", "list", "tables") == "table inet theirs\n"
    assert not debian.path("/var/lib/fairlead/redirect-suspended").exists()


# up and down --------------------------------------------------------------------------------------------


def test_an_upgrade_touches_nothing_but_the_agent(host: Machine) -> None:
    install(host, OLDER)
    text = configured(host)
    before, units = state(host), invocations(host)
    install(host)
    assert invocations(host) == units
    assert replace(state(host), files=before.files, groups=before.groups) == before
    assert host.read(CONFIG) == text
    assert host.run("fairlead", "--version") == f"fairlead {__version__}\n"


def test_two_versions_back_and_down_again(debian: Machine) -> None:
    """The host is the same, however a version was reached."""
    install(debian)
    there = state(debian)
    install(debian, OLDEST)
    assert debian.run("fairlead", "--version") == f"fairlead {OLDEST}\n"
    install(debian)
    assert state(debian) == there


def test_an_upgrade_from_a_package_with_the_interpreter_of_a_newer_system() -> None:
    """As every package had it before: its files ask for a newer C library. And down again."""
    old, new = built_packages.deb(OLDEST, Path("/")), built_packages.deb()
    assert depends(old) != depends(new)
    with on_host.booted(SUITES[1]) as host:
        dpkg(host, "--install", put(host, old))
        configured(host)
        before, units = state(host), invocations(host)
        install(host)
        assert host.run("fairlead", "--version") == f"fairlead {__version__}\n"
        assert invocations(host) == units
        assert replace(state(host), files=before.files, groups=before.groups) == before
        dpkg(host, "--install", put(host, old))
        assert host.run("fairlead", "--version") == f"fairlead {OLDEST}\n"
        assert invocations(host) == units


def depends(package: Path) -> str:
    asked = ["dpkg-deb", "--field", str(package), "Depends"]
    return subprocess.run(asked, capture_output=True, text=True, check=True, env={**os.environ}).stdout


def test_who_disabled_a_unit_has_it_stay_so(debian: Machine) -> None:
    install(debian, OLDER)
    configured(debian)
    debian.systemctl("disable", "--now", "fairlead-redirect.service")
    install(debian)
    assert debian.try_run("systemctl", "is-enabled", "fairlead-redirect.service").stdout == "disabled\n"
    assert active(debian) == set(STARTED) - {"fairlead-redirect.service"}


def test_a_configuration_file_of_the_package_that_was_edited_is_kept(debian: Machine) -> None:
    install(debian, OLDER)
    mine = "# mine\n" + debian.read("/etc/needrestart/conf.d/fairlead.conf")
    debian.write("/etc/needrestart/conf.d/fairlead.conf", mine)
    install(debian)
    assert debian.read("/etc/needrestart/conf.d/fairlead.conf") == mine


# interrupted --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("moment", "over"), [("half-installed", ""), ("half-configured", ""), ("half-configured", OLDER)]
)
def test_an_interrupted_installation_is_repaired(debian: Machine, moment: str, over: str) -> None:
    """dpkg is killed in the middle of unpacking, or of the maintainer script."""
    before = state(debian)
    package = put(debian, built_packages.deb())
    if over:
        install(debian, over)
        configured(debian)
    killed_at(debian, moment, package)
    assert debian.try_run("dpkg", "--audit").stdout
    dpkg(debian, "--install", package)
    assert debian.try_run("dpkg", "--audit").stdout == ""
    assert active(debian) == (set(STARTED) if over else set())
    assert debian.run("fairlead", "--version") == f"fairlead {__version__}\n"
    dpkg(debian, "--purge", "fairlead")
    assert state(debian) == before


def test_an_interrupted_configuration_is_ended_by_dpkg_itself(debian: Machine) -> None:
    killed_at(debian, "half-configured", put(debian, built_packages.deb()))
    dpkg(debian, "--configure", "--pending")
    assert debian.try_run("dpkg", "--audit").stdout == ""


def killed_at(machine: Machine, moment: str, package: str) -> None:
    """dpkg says what it begins; it and all that it started get SIGKILL there. Where it was done before, it begins
    again."""
    for _ in range(10):
        _killed_at(machine, moment, package)
        if machine.try_run("dpkg", "--audit").stdout:
            return
    raise AssertionError(f"dpkg was never interrupted at {moment}")


def _killed_at(machine: Machine, moment: str, package: str) -> None:
    command = machine.command("setsid", "--wait", "dpkg", "--status-fd", "1", "--install", package)
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env={**os.environ}
    ) as running:
        assert running.stdout is not None
        for line in running.stdout:
            if line.startswith("status: fairlead") and line.rstrip().endswith(moment):
                machine.run("pkill", f"-{signal.SIGKILL.value}", "-x", "dpkg")
                machine.try_run("pkill", f"-{signal.SIGKILL.value}", "-f", "dpkg/info/fairlead")
                break


def test_whatever_starts_in_an_upgrade_is_of_one_version(debian: Machine) -> None:
    """dpkg is killed at each of these moments; the next installation clears up."""
    before = state(debian)
    package, home = put(debian, built_packages.deb()), debian.path("/usr/lib/fairlead")
    install(debian, OLDER)
    configured(debian)
    for happens in interrupted_upgrade.MOMENTS.values():
        interrupted_upgrade.killed_when(partial(happens, home), debian.command("dpkg", "--install", package))
        assert debian.run("fairlead", "--version") == f"fairlead {interrupted_upgrade.version(home)}\n"
        assert json.loads(debian.run(PYTHON, "-IS", "-c", KNOCK, user="fairlead"))["ok"] is True
        install(debian, OLDER)
        assert interrupted_upgrade.version(home) == OLDER and len(list(home.iterdir())) == 2, (
            "and nothing of the other"
        )
    dpkg(debian, "--purge", "fairlead")
    assert state(debian) == before


KNOCK = """
import socket
with socket.socket(socket.AF_UNIX) as helper:
    helper.connect("/run/fairlead-helper/helper.sock")
    helper.sendall(b'{"verb": "redirect check"}\\n')
    helper.shutdown(socket.SHUT_WR)
    print(helper.makefile().read())
"""


# the journal --------------------------------------------------------------------------------------------


def test_the_journal_is_asked_by_reason(host: Machine) -> None:
    install(host)
    program = (
        "import structlog; from agent.daemon import logs; logs.configure(json=False, workload='shop/db-1')\n"
        "structlog.get_logger().warning('ProxyCrashed: it ended', reason='ProxyCrashed', component='proxy',"
        "    detail='a\\nb')"
    )
    host.write("/root/say.py", program)
    host.run("systemd-run", "--wait", "--unit=fairlead-says", PYTHON, "-IS", "/root/say.py")
    host.run("journalctl", "--sync")
    asked = ["FAIRLEAD_REASON=ProxyCrashed", "FAIRLEAD_COMPONENT=proxy", "EXTERNAL_WORKLOAD=shop/db-1"]
    (line,) = host.run("journalctl", "--output=json", *asked).splitlines()
    entry = json.loads(line)
    assert entry["MESSAGE"] == "ProxyCrashed: it ended detail='a\\nb'" and entry["PRIORITY"] == "4"
    assert entry["FAIRLEAD_DETAIL"] == "a\nb"
    assert (entry["_SYSTEMD_UNIT"], entry["SYSLOG_IDENTIFIER"]) == ("fairlead-says.service", "fairlead")
