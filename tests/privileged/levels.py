"""Requests to the privileged helper about levels, and where a connection then arrives."""

import pytest

from tests.privileged.helper_requests import CHECK, ask
from tests.privileged.hosts import APP, FAMILIES, INBOUND, Host, Listeners, dial

V4 = FAMILIES[0]
APPLICATION = V4.host, APP
NETWORK = V4.cluster, 80

NOW = {"verb": "redirect apply", "confirm": "none"}
TRIAL = {"verb": "redirect apply", "confirm": "5"}
LONG_TRIAL = {"verb": "redirect apply", "confirm": "600"}
CONFIRM, REVERT = {"verb": "redirect confirm"}, {"verb": "redirect revert"}
ARM, FAILED, RESTORE = {"verb": "redirect arm"}, {"verb": "redirect failed"}, {"verb": "redirect restore"}

OFF, BLOCKED, ON = ("off", "off"), ("block", "released"), ("on", "on")
RELEASED = "released", "released"


def done(host: Host, request: dict[str, str], *around: str) -> dict[str, object]:
    code, answer = ask(host, request, *around)
    assert code == 0, answer
    return answer


def levels(host: Host, request: dict[str, str] = CHECK, *around: str) -> tuple[object, object]:
    answer = done(host, request, *around)
    return answer["inbound"], answer["outbound"]


def refused(host: Host, request: dict[str, str], *around: str) -> tuple[str, str]:
    code, answer = ask(host, request, *around)
    assert code == 1, answer
    return str(answer["reason"]), str(answer["detail"])


def plain(host: Host, ears: Listeners) -> bool:
    return ears.heard(host.peer, *APPLICATION) == (APPLICATION, APPLICATION)


def redirected(host: Host, ears: Listeners) -> bool:
    return ears.heard(host.peer, *APPLICATION) == ((V4.host, INBOUND), APPLICATION)


def counted(host: Host) -> dict[str, int]:
    """Rule → packets, of those that redirect or block."""
    rules = done(host, {"verb": "redirect counters"})["rules"]
    assert isinstance(rules, list)
    return {rule["name"]: rule["packets"] for rule in rules if rule["chain"].startswith("inbound")}


def closed(host: Host) -> bool:
    with pytest.raises(ConnectionRefusedError):
        dial(host.peer, *APPLICATION)
    return True
