"""The maintainer scripts after manual changes, and without a running system."""

from __future__ import annotations

import os
import subprocess

import pytest

from tests.lab import netns
from tests.lab.machine import Machine
from tests.system import built_packages
from tests.system import host as on_host
from tests.system.host import SUITES, active, configure, dpkg, install, state

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("root")]
MASKED = "fairlead-redirect.service"


def test_what_somebody_masked_or_took_away_by_hand_holds_nothing_up() -> None:
    with on_host.booted(SUITES[0]) as host:
        host.systemctl("mask", MASKED)
        before = state(host)
        install(host)
        configure(host)
        host.systemctl("start", "fairlead-helper.socket", "fairlead-drain.service")
        host.run("nft", "add table inet fairlead; add table arp fairlead")
        host.run("ip", "address", "add", "169.254.41.1/32", "dev", "lo", "scope", "host", "label", "lo:fairlead")
        host.run("ip", "address", "add", "fdec:6392:6e0c::1/128", "dev", "lo", "nodad")
        host.run("sh", "-c", "printf '169.254.41.1\nfdec:6392:6e0c::1\n' > /run/fairlead-slot-addresses")
        host.run("touch", "/run/fairlead-slot")
        host.run("rm", "-r", "/usr/lib/fairlead", "/usr/bin/fairlead")
        host.run("rm", "/usr/lib/systemd/system/fairlead-drain.service")
        dpkg(host, "--remove", "fairlead")
        assert (active(host), host.run("nft", "list", "ruleset")) == (set(), "")
        left = host.run("ip", "address", "show", "dev", "lo")
        assert "169.254." not in left and "fdec:" not in left
        assert "fairlead-slot" not in host.run("ls", "/run")
        dpkg(host, "--purge", "fairlead")
        assert state(host) == before


@pytest.mark.parametrize("suite", SUITES)
def test_an_image_is_built_and_boots(suite: str) -> None:
    """In a folder, without a running systemd and without /proc, on a host with rules of its own."""
    with Machine(suite=suite) as image, netns.namespace() as around:
        around.run("nft", "add table inet fairlead")
        (image.path("/root") / "fairlead.deb").write_bytes(built_packages.deb().read_bytes())
        for step in ("--install", "--purge", "--install"):
            what = "/root/fairlead.deb" if step == "--install" else "fairlead"
            command = around.command(*image.unbooted("dpkg", step, what))
            done = subprocess.run(command, capture_output=True, text=True, env={**os.environ})
            assert done.returncode == 0, done.stdout + done.stderr
        assert around.run("nft", "list", "tables") == "table inet fairlead\n"
        with image.powered():
            assert active(image) == set()
            configure(image)
            image.reboot()
            image.wait_for("fairlead.service")
            assert image.systemctl("--failed", "--plain", "--no-legend") == ""
