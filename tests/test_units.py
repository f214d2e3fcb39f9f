"""The units, as systemd reads them."""

import configparser
import subprocess
from pathlib import Path

import pytest

from agent.privileged.request import VERBS, parse

UNITS = Path(__file__).parent.parent / "systemd"
DOOR, SOCKET, REDIRECT = "fairlead-door@.service", "fairlead-door.socket", "fairlead-redirect.service"


class Unit(configparser.RawConfigParser):
    """Key names as written; a key that stands more than once would be an error here."""

    optionxform = staticmethod(str)  # type: ignore[assignment]


def unit(name: str) -> Unit:
    found = Unit(delimiters=("=",), comment_prefixes=("#",))
    found.read_string((UNITS / name).read_text())
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
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_drain_stops_first_and_needs_no_other_unit_for_it() -> None:
    """What starts before it stops after it; neither systemctl nor a socket unit is in its stop."""
    found = unit("fairlead-drain.service")
    before = found["Unit"]["After"].split()
    assert {"multi-user.target", "fairlead.service", "fairlead-proxy.service", "network-online.target"} <= set(
        before
    )
    assert found["Install"]["WantedBy"] == "multi-user.target"
    service = found["Service"]
    assert "ExecStart" not in service and service["RemainAfterExit"] == "yes"
    program, *arguments = service["ExecStop"].split()
    assert program.endswith("/python") and arguments == ["-m", "agent", "shutdown-drain"]
    assert int(service["TimeoutStopSec"]) > 3600, "drain.timeout bounds it, and not systemd in the middle"


def test_the_door_is_shut_to_others() -> None:
    socket = unit(SOCKET)["Socket"]
    assert (socket["SocketUser"], socket["SocketMode"], socket["Accept"]) == ("fairlead", "0600", "yes")
    assert (socket["MaxConnections"], socket["TriggerLimitIntervalSec"]) == ("4", "0")


@pytest.mark.parametrize("name", [DOOR, REDIRECT])
def test_root_is_bounded(name: str) -> None:
    service = unit(name)["Service"]
    assert set(service["CapabilityBoundingSet"].split()) == {
        "CAP_NET_ADMIN",
        "CAP_NET_RAW",
        "CAP_SYS_PTRACE",
        "CAP_DAC_READ_SEARCH",
    }
    assert service["NoNewPrivileges"] == "yes"
    assert (service["DevicePolicy"], service["DeviceAllow"]) == ("closed", "/dev/net/tun rw")


def test_what_is_asked_at_boot_is_a_request() -> None:
    asked = unit(REDIRECT)["Service"]["StandardInputText"]
    assert parse(asked.encode() + b"\n").verb == "redirect restore"
    assert "redirect restore" in VERBS


def test_the_redirect_comes_before_the_network_and_never_waits_for_containers() -> None:
    found = unit(REDIRECT)["Unit"]
    assert "network-pre.target" in found["Before"].split()
    assert {"nftables.service", "firewalld.service", "ufw.service"} <= set(found["After"].split())
    assert "docker" not in found["After"]
