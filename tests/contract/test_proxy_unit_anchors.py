"""Trust anchors that are followed without an operator, on a really booted systemd: the proxy's user reads root's
copy of them, and never the agent's folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from agent.core import anchors
from agent.sandbox.identity.ca import Authority
from tests.contract.test_proxy_unit_agent import AGENT, is_on
from tests.lab import installed, netns, unit_machine
from tests.lab.machine import Machine
from tests.lab.proxy_neighbours import NEXT_ROOT, TRUST_DOMAIN
from tests.lab.unit_machine import PROXY, pid

pytestmark = pytest.mark.real

CONFIG, CONFIGURED = "/etc/fairlead/fairlead.toml", "/etc/fairlead/trust-anchors.pem"
KEPT, ACCEPTED = "/var/lib/fairlead/agent/trust-anchors.pem", "/var/lib/fairlead/trust-anchors.pem"
FOLLOW = 'anchors_source = "workload-api"\nanchors_follow = true\nanchors_window = 0\n'


@pytest.fixture
def machine(proxy_host: tuple[Machine, netns.Namespace]) -> Iterator[Machine]:
    """Its agent follows the bundle of the Workload API."""
    with unit_machine.clean(proxy_host[0]) as machine:
        text = machine.read(CONFIG)
        machine.write(CONFIG, text.replace("[api]\n", f"{FOLLOW}[api]\n"))
        yield machine
        machine.systemctl("stop", AGENT, PROXY)
        machine.run("rm", "-f", KEPT, ACCEPTED)
        machine.systemctl("restart", "workload-api")


def trusted(machine: Machine) -> set[bytes]:
    """By the proxy that runs; none while the launcher does."""
    environment = machine.try_run("cat", f"/proc/{pid(machine)}/environ").stdout
    return set(anchors.certificates(environment)) if "END CERTIFICATE" in environment else set()


def test_a_proxy_starts_where_anchors_are_followed_and_follows_a_rotation(machine: Machine) -> None:
    old = set(anchors.certificates(machine.read(CONFIGURED)))
    is_on(machine)
    assert trusted(machine) == old
    machine.systemctl("kill", "--signal=HUP", "workload-api")
    both = old | set(anchors.certificates(eventually(machine, NEXT_ROOT)))
    machine.wait_until(lambda: trusted(machine) == both, "a proxy that trusts both roots", 120)
    assert set(anchors.certificates(machine.read(ACCEPTED))) == both
    shown = machine.run("stat", "--format=%U:%G %a", "/var/lib/fairlead/agent", ACCEPTED).splitlines()
    assert shown == ["fairlead:fairlead 700", "root:root 644"]


def eventually(machine: Machine, path: str) -> str:
    machine.wait_until(lambda: "END CERTIFICATE" in machine.try_run("cat", path).stdout, path)
    return machine.read(path)


def test_the_agents_file_is_not_what_the_proxy_starts_with(machine: Machine) -> None:
    """Whatever the agent's user writes where it keeps what it found, the proxy starts with root's."""
    old = set(anchors.certificates(machine.read(CONFIGURED)))
    machine.run("install", "-d", "-o", "fairlead", "-m", "0755", "/var/lib/fairlead/agent")
    machine.write(KEPT, Authority(TRUST_DOMAIN).pem + machine.read(CONFIGURED))
    uid = installed.USERS["fairlead"]
    machine.run("chown", f"{uid}:{uid}", KEPT)
    unit_machine.started(machine)
    assert trusted(machine) == old
