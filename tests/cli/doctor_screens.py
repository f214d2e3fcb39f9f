"""The states of a host for which the screen of `fairlead doctor` is recorded, each as the readings of its checks.

`python -m tests.cli.doctor_screens` writes the records again; with states it is the doctor of those hosts.
"""

import asyncio
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final
from unittest import mock

from agent.cli import main
from agent.core.doctor import api, host_checks, identity, machine, network, rules
from agent.core.reasons import Fault, Reason
from agent.core.redirect.admission import Admission
from agent.core.redirect.walk import Verdict
from agent.core.replacement_way import Seen
from agent.loops.checks import NotHere, Reader, Unread
from agent.offline.doctor import readings
from tests.cli.screens import WIDTHS, on_terminal, without_colours

_NEXT: Final = "=== "  # before the name of a state
FOLDER = Path(__file__).parent / "screens_of_doctor"
ID: Final = "spiffe://root.linkerd.cluster.local/db-1"
SOCKET: Final = "/run/spire/agent-sockets/api.sock"
AGENT: Final = identity.Answer("fairlead", 990, ID, None)
PROXY: Final = replace(AGENT, user="fairlead-proxy", uid=989)
RIGHTS: Final = api.rights("shop", "db-1", anchors_in="linkerd")
RULES: Final = rules.Rules(True, "inbound on, outbound on", True)
STATUS: Final = {"headline": "Ready: as intended", "ready": {"status": "True"}, "problems": []}
USED: Final = {
    "connection tracking": (512, 262144),
    "descriptors of the proxy": (41, 65536),
    "memory of the proxy": (19 << 20, 512 << 20),
}
HEALTHY: Final[Mapping[str, Any]] = {
    "configuration": None,
    "disk": machine.Disk("/var/lib/fairlead", 8000 << 20, 500_000),
    "workload-api": identity.Way(SOCKET, None, {}),
    "clock": identity.Clock(0.2, "", []),
    "agent-identity": AGENT,
    "proxy-identity": PROXY,
    "trust-anchors": identity.Anchors("/etc/fairlead/trust-anchors.pem", None, 3650 * 86400),
    "trust": None,
    "control-plane-names": {"policy": network.Name("A"), "destination": network.Name("SRV")},
    "pod-routes": network.Routes({"10.42.0.0/16": "via 192.0.2.1 dev eth0"}),
    "control-plane": network.ControlPlane(None, None),
    "path-mtu": network.Hello("10.42.0.9:8090", 3000, True),
    "api-server": None,
    "api-credential": None,
    "api-rights": [api.Review(right, True) for right in RIGHTS],
    "workload": [],
    "lease": None,
    "application": network.Application([5432], ["192.0.2.10"], [("0.0.0.0", 5432)]),
    "proxy-binary": None,
    "proxy-ports": None,
    "guide-rules": [],
    "firewall": rules.Firewall(Admission(Verdict.ACCEPTED, 4143)),
    "redirect": None,
    "rules": RULES,
    "replacement": Seen(wanted=False, one_slot="proxy.slots is false"),
    "helper": None,
    "agent": machine.Agent(STATUS),
    "versions": machine.Versions("1.0", "1.0", "2.366.0", "2.366.0"),
    "limits": machine.Used(USED),
    "ready": machine.Agent(STATUS),
}
_UNRESOLVED: Final = network.Name(
    "",
    "linkerd-policy.linkerd.svc.cluster.local.: 192.0.2.53: no such name (by /etc/resolv.conf)",
    elsewhere=True,
)
_CLOSED: Final = Admission(
    Verdict.REFUSED,
    4143,
    ("nft insert rule inet filter input tcp dport 4143 accept",),
    rule="inet filter input: policy drop",
)
_DEAD: Final = machine.Agent(None, "/run/fairlead/fairlead.sock: Connection refused")
_LATE: Final = TimeoutError("SPIRE does not answer")
_PROBLEM: Final = {
    "severity": "fault",
    "reason": "ProbeFailing",
    "text": "the local application fails its probe",
    "detail": "app: connection refused",
    "remedy": "check that it runs and listens on the workload's address",
}
_NOT_READY: Final = {
    "headline": "Not ready: ProbeFailing: the local application fails its probe",
    "ready": {"status": "False"},
    "problems": [_PROBLEM],
}
_NOT_ROOTS: Final = NotHere("needs root, which asks as fairlead-proxy")
_MISSING: Final = [api.Review(right, right.resource != "externalworkloads/status") for right in RIGHTS]

# State → what differs from a healthy host. An exception is raised instead of the reading.
STATES: Final[Mapping[str, Mapping[str, Any]]] = {
    "healthy": {},
    "not-ready": {"ready": machine.Agent(_NOT_READY), "agent": machine.Agent(_NOT_READY)},
    "without-a-configuration": {
        "configuration": Fault(
            Reason.CONFIGURATION_UNUSABLE, "/etc/fairlead/fairlead.toml does not exist", readings.TO_JOIN
        ),
    },
    "not-root": {
        "proxy-identity": _NOT_ROOTS,
        "trust": _NOT_ROOTS,
        "control-plane": _NOT_ROOTS,
        "path-mtu": _NOT_ROOTS,
        "proxy-binary": _NOT_ROOTS,
        "agent-identity": NotHere("needs root, which asks as fairlead"),
        "api-rights": NotHere("needs root, which asks as fairlead"),
        "helper": NotHere("needs root, which asks as fairlead"),
    },
    "not-joined": {},
    "agent-dead": {"agent": _DEAD, "ready": _DEAD},
    "spire-silent": {"workload-api": _LATE, "agent-identity": _LATE, "proxy-identity": _LATE, "trust": _LATE},
    "nothing-answers": {
        name: Unread("no answer in 3 s") for name in HEALTHY if name not in ("configuration", "disk")
    },
    "warnings": {
        "clock": identity.Clock(12.0, "", []),
        "trust-anchors": identity.Anchors("/etc/fairlead/trust-anchors.pem", None, 9 * 86400),
        "versions": machine.Versions("1.0", "0.9", "2.366.0", "2.366.0"),
        "limits": machine.Used({**USED, "connection tracking": (251000, 262144)}),
    },
    "unresolvable": {"control-plane-names": {"policy": _UNRESOLVED, "destination": _UNRESOLVED}},
    "another-id": {
        "agent-identity": replace(
            AGENT, fault=Fault(Reason.IDENTITY_UNEXPECTED, f"{ID} is not among the SVIDs: {ID}2")
        ),
    },
    "no-entry-for-the-proxy": {"proxy-identity": replace(PROXY, fault=Fault(Reason.WORKLOAD_API_DENIED))},
    "untrusted": {"trust": Fault(Reason.IDENTITY_UNTRUSTED, "no anchor signed it")},
    "closed-socket": {
        "workload-api": identity.Way(SOCKET, None, {"fairlead-proxy": "/run/spire/agent-sockets"}),
    },
    "loopback-alone": {"application": network.Application([5432], ["192.0.2.10"], [("127.0.0.1", 5432)])},
    "closed-firewall": {"firewall": rules.Firewall(_CLOSED)},
    "black-hole": {"path-mtu": network.Hello("10.42.0.9:8090", 3000, False)},
    "missing-right": {"api-rights": _MISSING},
    "slow-clock": {"clock": identity.Clock(600.0, "", [])},
    "guide": {"guide-rules": ["ip nat PROXY_INIT_REDIRECT", "ip nat PROXY_INIT_OUTPUT"]},
    "edited-rules": {"rules": replace(RULES, as_planned=False)},
}


def readers(state: str) -> Mapping[str, Reader]:
    return {name: _reader(STATES[state].get(name, good)) for name, good in HEALTHY.items()}


def _reader(reading: Any) -> Reader:
    async def read() -> Any:
        if isinstance(reading, Exception):
            raise reading
        return reading

    return read


def doctor(state: str, words: list[str]) -> int:
    """The verb itself, on a host whose checks read so."""
    assert {check.name for check in host_checks.HOST} == {*HEALTHY}
    with (
        mock.patch("agent.offline.doctor.readings.of_host", lambda _: readers(state)),
        mock.patch("agent.host.reading.absent", lambda _: state == "not-joined"),
        mock.patch("os.geteuid", lambda: 1000 if state == "not-root" else 0),
    ):
        return main.main(["doctor", *words])


async def screens(width: int, **environment: str) -> Mapping[str, str]:
    """State → what a terminal shows. One process shows all of them, each after a line of its own."""
    command = [sys.executable, "-m", "tests.cli.doctor_screens", *STATES]
    _, shown = await on_terminal(command, width, **environment)
    _, *rest = shown.split(_NEXT)
    return {state: text for state, _, text in (one.partition("\n") for one in rest)}


def record(state: str, width: int) -> Path:
    return FOLDER / f"{state}-{width}.txt"


async def _write() -> None:
    FOLDER.mkdir(exist_ok=True)
    for width in WIDTHS:
        for state, shown in (await screens(width)).items():
            record(state, width).write_text(without_colours(shown))


def _show(states: list[str]) -> None:
    for state in states:
        print(f"{_NEXT}{state}")
        code = doctor(state, [])
        print(f"exit {code}", flush=True)


if __name__ == "__main__":
    _show(sys.argv[1:]) if sys.argv[1:] else asyncio.run(_write())
