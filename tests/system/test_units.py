"""The units, as systemd reads them."""

import configparser
import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from agent.core.crashes import CLOSED_AT_BOOT
from agent.host import Host
from agent.privileged.helper.request import parse
from agent.privileged.helper.verbs import VERBS

UNITS = Path(__file__).parents[2] / "systemd"
HELPER, SOCKET, REDIRECT = "fairlead-helper@.service", "fairlead-helper.socket", "fairlead-redirect.service"
DRAIN, AGENT, PROXY = "fairlead-drain.service", "fairlead.service", "fairlead-proxy.service"
STANDBY, TAKEOVER = "fairlead-proxy-standby.service", "fairlead-takeover.service"
WAIT, READY = "fairlead-wait.service", "fairlead-ready.target"


class Unit(configparser.RawConfigParser):
    """Key names as written; a key that stands more than once would be an error here, but for the one that
    must: system calls are first allowed by groups, and then removed again."""

    optionxform = staticmethod(str)  # type: ignore[assignment]


def unit(name: str, once: bool = True) -> Unit:
    """`once`: no key stands twice."""
    found = Unit(delimiters=("=",), comment_prefixes=("#",), strict=once)
    lines = (UNITS / name).read_text().splitlines()
    found.read_string("\n".join(line for line in lines if not line.startswith("SystemCallFilter=~")))
    return found


@pytest.mark.real
def test_systemd_has_nothing_to_say(tmp_path: Path) -> None:
    """The interpreter is the package's own; any other stands in for it here."""
    for path in UNITS.iterdir():
        text = path.read_text().replace("/usr/lib/fairlead/bin/python", "/usr/bin/env")
        (tmp_path / path.name).write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", *map(str, sorted(tmp_path.iterdir()))],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ},
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_drain_stops_first_and_needs_no_other_unit_for_it() -> None:
    """What starts before it stops after it; neither systemctl nor a socket unit is in its stop."""
    found = unit(DRAIN)
    before = found["Unit"]["After"].split()
    needed = "network-online.target nss-lookup.target fairlead.service fairlead-proxy.service spire-agent.service"
    assert {"multi-user.target", *needed.split()} <= set(before)
    assert found["Install"]["WantedBy"] == "multi-user.target"
    service = found["Service"]
    assert "ExecStart" not in service and service["RemainAfterExit"] == "yes"
    program, *arguments = service["ExecStop"].split()
    assert program.endswith("/python") and arguments == ["-IS", "-m", "agent", "shutdown-drain"]
    assert int(service["TimeoutStopSec"]) > 3600, "drain.timeout bounds it, and not systemd in the middle"
    held = (service["User"], service["CapabilityBoundingSet"], service["NoNewPrivileges"])
    assert held == ("fairlead", "", "yes"), "who the API server knows is the agent, and no root"


def test_no_unit_tells_the_interpreter_where_its_modules_are() -> None:
    """It finds those of its own version beside itself; a path would lead to another one's in an upgrade."""
    for path in UNITS.iterdir():
        text = path.read_text()
        starts = text.count("/usr/lib/fairlead/")
        assert "PYTHONPATH" not in text, path.name
        assert text.count("/usr/lib/fairlead/bin/python -IS -m agent") == starts, path.name


def test_the_helper_is_shut_to_others() -> None:
    socket = unit(SOCKET)["Socket"]
    assert socket["ListenStream"] == str(Host().helper_socket)
    assert (socket["SocketUser"], socket["SocketMode"], socket["Accept"]) == ("fairlead", "0600", "yes")
    assert (socket["MaxConnections"], socket["TriggerLimitIntervalSec"]) == ("16", "0")
    request = unit(HELPER)
    assert request["Unit"]["CollectMode"] == "inactive-or-failed", "a refusal leaves no unit behind"
    longest = max(row.deadline for row in VERBS.values())
    assert float(request["Service"]["RuntimeMaxSec"]) > longest, "its own limit comes first, and answers"


@pytest.mark.parametrize("name", [HELPER, REDIRECT])
def test_root_is_bounded(name: str) -> None:
    service = unit(name)["Service"]
    rights = {"CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_SYS_PTRACE"}
    more = {"CAP_DAC_READ_SEARCH"} if name == HELPER else set()  # to read what the agent found
    assert set(service["CapabilityBoundingSet"].split()) == rights | more
    assert service["NoNewPrivileges"] == "yes"
    assert (service["DevicePolicy"], service["DeviceAllow"]) == ("closed", "/dev/net/tun rw")
    assert (service["PrivateDevices"], service["BindPaths"]) == ("yes", "-/dev/net/tun")


def test_what_is_asked_at_boot_is_a_request() -> None:
    asked = unit(REDIRECT)["Service"]["StandardInputText"]
    assert parse(asked.encode() + b"\n").verb == "redirect restore"
    assert "redirect restore" in VERBS


def test_the_redirect_comes_before_the_network_and_never_waits_for_containers() -> None:
    found = unit(REDIRECT)["Unit"]
    assert "network-pre.target" in found["Before"].split() and found["Wants"] == "network-pre.target"
    assert {"nftables.service", "firewalld.service", "ufw.service"} <= set(found["After"].split())
    assert "docker" not in found["After"]


# What systemd itself says of how much a unit may do: 0 is nothing, 10 is everything. The privileged helper is
# root and reaches the kernel's rules, so it cannot score as low as what runs as a user without a capability.
EXPOSURE = {AGENT: 2.0, WAIT: 2.0, PROXY: 2.0, HELPER: 2.5, REDIRECT: 2.5, DRAIN: 2.0, STANDBY: 2.0, TAKEOVER: 2.5}


@pytest.mark.real
@pytest.mark.parametrize("name", sorted(path.name for path in UNITS.glob("*.service")))
def test_a_unit_may_do_little(name: str, tmp_path: Path) -> None:
    assert name in EXPOSURE, "say how much it may do"
    done = _analysed(name, tmp_path, f"--threshold={EXPOSURE[name] * 10:.0f}")
    assert done.returncode == 0, done.stdout + done.stderr


def _analysed(name: str, folder: Path, how: str) -> subprocess.CompletedProcess[str]:
    text = (UNITS / name).read_text().replace("/usr/lib/fairlead/bin/python", "/usr/bin/env")
    (folder / name).write_text(text)
    argv = ["systemd-analyze", "security", "--no-pager", "--offline=yes", how, str(folder / name)]
    return subprocess.run(argv, capture_output=True, text=True, check=False, env={**os.environ})


@pytest.mark.real
@pytest.mark.parametrize("name", sorted(name for name, most in EXPOSURE.items() if most > 2.0))
def test_what_counts_against_a_unit_has_its_reason_in_it(name: str, tmp_path: Path) -> None:
    """Each directive that systemd would have, and none that is set meanwhile. Both run the same program."""
    rows = json.loads(_analysed(name, tmp_path, "--json=short").stdout)
    counted = {row["name"].partition("=")[0] for row in rows if row["exposure"] and not row["set"]}
    comments = [line for line in (UNITS / HELPER).read_text().splitlines() if line.startswith("# ")]
    reasons = {word for line in comments for word in re.findall(r"(\w+)=[,:] ", line)}
    assert counted <= reasons
    assert (
        counted == reasons if name == HELPER else f"{HELPER}, which has the reasons" in (UNITS / name).read_text()
    )


@pytest.mark.parametrize("name", sorted(EXPOSURE))
def test_a_unit_takes_no_more_than_its_share_of_the_host(name: str) -> None:
    """Each limit has its measured reason before it."""
    lines = (UNITS / name).read_text().splitlines()
    at = next(index for index, line in enumerate(lines) if line.startswith("MemoryMax="))
    assert lines[at + 1].startswith("TasksMax="), name
    assert lines[at - 1].startswith("# "), name


@pytest.mark.parametrize("name", [DRAIN, REDIRECT, SOCKET, AGENT, PROXY, WAIT])
def test_a_host_that_is_not_configured_is_left_alone(name: str) -> None:
    assert unit(name, once=False)["Unit"]["ConditionPathExists"] == "/etc/fairlead/fairlead.toml"


_TIES = ("PartOf", "BindsTo", "Requires", "Requisite")


def test_one_start_brings_everything_and_one_stop_takes_the_agent_alone() -> None:
    found = unit(AGENT)["Unit"]
    assert {SOCKET, REDIRECT, DRAIN} <= set(found["Wants"].split())
    assert "Requires" not in found
    for other in (SOCKET, REDIRECT, DRAIN, PROXY):
        assert AGENT not in " ".join(unit(other, once=False)["Unit"].get(key, "") for key in _TIES)


@pytest.mark.parametrize("name", [AGENT, PROXY, DRAIN])
def test_what_holds_keys_leaves_no_core_file(name: str) -> None:
    assert unit(name, once=False)["Service"]["LimitCORE"] == "0"


def test_systemd_alone_restarts_the_proxy_and_its_gate_holds_no_boot() -> None:
    found = unit(PROXY, once=False)
    assert "Install" not in found
    assert found["Unit"]["StartLimitIntervalSec"] == "0"
    service = found["Service"]
    assert (service["Restart"], service["RestartSec"], service["TimeoutStartSec"]) == (
        "always",
        "0",
        "infinity",
    )
    assert (service["User"], service["OOMPolicy"], service["CapabilityBoundingSet"]) == (
        "fairlead-proxy",
        "kill",
        "",
    )
    assert service["ExecStart"].endswith("python -IS -m agent.proxyunit.start"), (
        "in the sandbox, as the proxy's user"
    )
    assert "ExecStartPre" not in service and "ExecCondition" not in service, "each costs 40 ms"
    assert service["SuccessExitStatus"] == service["RestartPreventExitStatus"] == str(CLOSED_AT_BOOT)
    assert service["ExecStartPost"].startswith("-+") and service["ExecStartPost"].endswith("proxyunit.arm")
    after = [line for line in (UNITS / PROXY).read_text().splitlines() if line.startswith("ExecStopPost=")]
    assert len(after) == 1 and after[0].startswith("ExecStopPost=+") and "proxyunit.ended" in after[0]


def test_who_wants_the_mesh_waits_for_it_and_starts_either_way() -> None:
    """No boot waits: neither is enabled, and what waits is ordered before no target of the boot's own."""
    target, wait = unit(READY), unit(WAIT)
    assert (target["Unit"]["Requires"], target["Unit"]["After"]) == (WAIT, WAIT)
    assert "Install" not in target and "Install" not in wait
    assert wait["Unit"]["After"] == wait["Unit"]["Wants"] == AGENT and "Before" not in wait["Unit"]
    service = wait["Service"]
    assert service["ExecStart"].endswith("-m agent wait") and service["User"] == "fairlead"
    assert (service["Type"], service["RemainAfterExit"]) == ("oneshot", "yes")
    assert int(service["TimeoutStartSec"]) > 3600, "ready.wait bounds it, and not systemd in the middle"


@pytest.mark.parametrize("name", [STANDBY, TAKEOVER])
def test_each_start_of_the_second_slot_has_its_takeover(name: str) -> None:
    assert unit(name, once=False)["Unit"]["StartLimitIntervalSec"] == "0"


def test_the_agent_is_nobody_and_comes_back_for_ever() -> None:
    found = unit(AGENT)
    service = found["Service"]
    assert (service["User"], service["CapabilityBoundingSet"]) == ("fairlead", "")
    assert (service["Type"], service["Restart"], found["Unit"]["StartLimitIntervalSec"]) == (
        "notify",
        "always",
        "0",
    )
    assert int(service["WatchdogSec"]) > 0


def test_a_token_reaches_the_proxys_user_through_its_folder_alone() -> None:
    files = (UNITS.parent / "packaging/files/tmpfiles.conf").read_text().splitlines()
    assert "d /run/fairlead-token 2750 fairlead fairlead-proxy" in files
    assert unit("fairlead.service")["Service"]["ReadWritePaths"] == "-/run/fairlead-push -/run/fairlead-token"
