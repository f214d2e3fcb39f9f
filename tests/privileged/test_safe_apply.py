"""A redirect that never cuts a host off: tested when it is set, on trial where asked, and taken back whole."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.core.reasons import Reason
from tests.privileged.asking import CHECK, REMOVE, apply, ask
from tests.privileged.firewalls import BACKENDS, force
from tests.privileged.hosts import (
    APP,
    FAMILIES,
    INBOUND,
    SSH,
    Host,
    Listeners,
    dial,
    nft_and_then,
    wired_host,
    with_nft,
)

V4 = FAMILIES[0]
APPLICATION = V4.host, APP
NETWORK = V4.cluster, 80
HARM = "insert rule inet fairlead inbound tcp dport 22 dnat to :4143"

NOW = {"verb": "redirect apply", "confirm": "none"}
TRIAL = {"verb": "redirect apply", "confirm": "5"}
LONG_TRIAL = {"verb": "redirect apply", "confirm": "600"}
CONFIRM, REVERT = {"verb": "redirect confirm"}, {"verb": "redirect revert"}
ARM, FAILED, RESTORE = {"verb": "redirect arm"}, {"verb": "redirect failed"}, {"verb": "redirect restore"}

OFF, BLOCKED, ON = ("off", "off"), ("block", "released"), ("on", "on")
RELEASED = "released", "released"


@pytest.fixture
def host(root: None, tmp_path: Path) -> Iterator[Host]:
    with wired_host(tmp_path) as made:
        yield made


@pytest.fixture
def ears() -> Iterator[Listeners]:
    with Listeners() as made:
        yield made


def done(host: Host, request: dict[str, str], *around: str) -> dict[str, object]:
    code, answer = ask(host, request, *around)
    assert code == 0, answer
    return answer


def levels(host: Host, request: dict[str, str] = CHECK) -> tuple[object, object]:
    answer = done(host, request)
    return answer["inbound"], answer["outbound"]


def refused(host: Host, request: dict[str, str], *around: str) -> tuple[str, str]:
    code, answer = ask(host, request, *around)
    assert code == 1, answer
    return str(answer["reason"]), str(answer["detail"])


def plain(host: Host, ears: Listeners) -> bool:
    return ears.heard(host.peer, *APPLICATION) == (APPLICATION, APPLICATION)


def redirected(host: Host, ears: Listeners) -> bool:
    return ears.heard(host.peer, *APPLICATION) == ((V4.host, INBOUND), APPLICATION)


def closed(host: Host) -> bool:
    with pytest.raises(ConnectionRefusedError):
        dial(host.peer, *APPLICATION)
    return True


# the self-test -------------------------------------------------------------------------------------


def test_rules_that_catch_ssh_are_taken_back_at_once(host: Host, ears: Listeners, tmp_path: Path) -> None:
    ears.add(host.space, "0.0.0.0", SSH)
    harmful = with_nft(nft_and_then(tmp_path, HARM))
    done(host, apply(*BLOCKED))
    before = host.space.run("nft", "-s", "list", "ruleset")

    reason, detail = refused(host, apply(*ON), *harmful)
    assert reason == "RedirectSuspended"
    assert "SSH on 10.9.0.2 port 22" in detail
    assert closed(host)
    assert host.space.run("nft", "-s", "list", "ruleset") == before


def test_a_suspension_stays_until_an_operator_acts(host: Host, ears: Listeners, tmp_path: Path) -> None:
    ears.add_proxy(host.space)
    refused(host, apply(*ON), *with_nft(nft_and_then(tmp_path, HARM)))
    assert str(done(host, CHECK)["suspended"]).startswith("self-test: SSH on 10.9.0.2")
    for request in (apply(*ON), apply("released", "on"), ARM):
        assert refused(host, request)[0] == "RedirectSuspended"
    assert levels(host, apply(*BLOCKED)) == BLOCKED  # to close a port is allowed
    assert levels(host, RESTORE) == BLOCKED

    assert levels(host, NOW) == ON
    assert "suspended" not in done(host, CHECK)
    assert levels(host, apply(*BLOCKED)) == BLOCKED
    assert levels(host, apply(*ON)) == ON


def test_where_nothing_was_tracking_stays(host: Host, tmp_path: Path) -> None:
    """Taken back without it, a stream that was caught meanwhile would be reset."""
    refused(host, apply(*ON), *with_nft(nft_and_then(tmp_path, HARM)))
    rules = host.space.run("nft", "list", "ruleset")
    assert "ct state" in rules
    assert "4140" not in rules


def test_what_somebody_changed_by_hand_does_not_come_back_in_part(host: Host, tmp_path: Path) -> None:
    done(host, apply(*BLOCKED))
    host.space.run(
        "nft", "insert rule inet fairlead inbound_block ip ttl 7 tcp dport 1-1000 reject with tcp reset"
    )
    refused(host, apply(*ON), *with_nft(nft_and_then(tmp_path, HARM)))
    assert "reject" not in host.space.run("nft", "list", "ruleset")


# on trial ------------------------------------------------------------------------------------------


def test_confirmed_rules_stay(host: Host, ears: Listeners) -> None:
    ears.add_proxy(host.space)
    ears.add(host.space, V4.host, APP)
    answer = done(host, LONG_TRIAL)
    assert (answer["inbound"], answer["trial"]) == ("on", 600)
    assert redirected(host, ears)
    assert str(done(host, CHECK)["suspended"]).startswith("unconfirmed")
    assert levels(host, apply(*ON)) == ON  # what the agent wants is so already, and the trial goes on
    assert "trial" in done(host, CHECK)

    assert levels(host, CONFIRM) == ON
    assert done(host, CHECK) == {"ok": True, "inbound": "on", "outbound": "on"}
    assert "trial" not in host.space.run("nft", "list", "ruleset")
    assert redirected(host, ears)
    assert "none is on trial" in refused(host, CONFIRM)[1]


@pytest.mark.parametrize("before", [BLOCKED, RELEASED, OFF])
def test_unconfirmed_rules_go_with_nobody_there_to_take_them(
    host: Host, ears: Listeners, before: tuple[str, str]
) -> None:
    ears.add_proxy(host.space)
    ears.add(host.space, V4.host, APP)
    ears.add(host.peer, V4.cluster, 80)
    done(host, apply(*before))
    done(host, TRIAL)
    with ears.stream(host.peer, *APPLICATION) as stream:
        assert stream.arrived == (V4.host, INBOUND)
        while "elements" in host.space.run("nft", "list", "set", "inet", "fairlead", "trial"):
            stream.flow()
        assert closed(host) if before == BLOCKED else plain(host, ears)
        assert ears.heard(host.space, *NETWORK)[0] == NETWORK
        stream.flow()

    assert levels(host) == (RELEASED if before == OFF else before)
    reason, detail = refused(host, CONFIRM)
    assert reason == "RedirectSuspended"
    assert "its time is over" in detail
    assert refused(host, apply(*ON))[0] == "RedirectSuspended"
    assert levels(host, apply(*BLOCKED)) == BLOCKED
    assert "trial" not in host.space.run("nft", "list", "ruleset")


def test_an_operator_may_take_it_back_before(host: Host, ears: Listeners) -> None:
    ears.add_proxy(host.space)
    done(host, apply(*BLOCKED))
    before = host.space.run("nft", "-s", "list", "ruleset")
    done(host, LONG_TRIAL)
    assert levels(host, REVERT) == BLOCKED
    assert host.space.run("nft", "-s", "list", "ruleset") == before
    assert refused(host, apply(*ON))[0] == "RedirectSuspended"
    assert "none is on trial" in refused(host, REVERT)[1]


def test_what_is_on_trial_is_judged_by_what_it_was_made_of(host: Host, ears: Listeners) -> None:
    """And what comes back by what was approved before, whatever stands in the file meanwhile."""
    ears.add_proxy(host.space)
    done(host, NOW)
    host.config.write_text(host.config.read_text().replace("ports = [8080]", "ports = [8080, 8081]"))
    assert levels(host) == ON
    assert done(host, CHECK)["edited"] == "workload.ports"
    done(host, LONG_TRIAL)
    assert "8081" in host.space.run("nft", "list", "ruleset")
    assert "edited" not in done(host, CHECK)
    host.config.write_text("broken")
    assert levels(host) == ON
    assert "not valid TOML" in str(done(host, CHECK)["edited"])
    done(host, REVERT)
    assert levels(host) == ON
    assert "8081" not in host.space.run("nft", "list", "ruleset")


def test_a_trial_with_harm_in_it_ends_at_once(host: Host, ears: Listeners, tmp_path: Path) -> None:
    ears.add_proxy(host.space)
    reason, _ = refused(host, LONG_TRIAL, *with_nft(nft_and_then(tmp_path, HARM)))
    assert reason == "RedirectSuspended"
    assert "trial" not in done(host, CHECK)
    assert "4143" not in host.space.run("nft", "list", "ruleset")


# another backend -----------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", [name for name in BACKENDS if name != "nftables"])
def test_by_iptables_rules_are_set_and_none_are_on_trial(host: Host, ears: Listeners, backend: str) -> None:
    """Nothing there keeps the time; what cannot be promised is refused, and nothing has changed."""
    force(host, backend)
    ears.add_proxy(host.space)
    ears.add(host.space, V4.host, APP)
    reason, detail = refused(host, TRIAL)
    assert reason == "RedirectUnsupported"
    assert "keeps no time" in detail
    assert done(host, CHECK) == {"ok": True, "inbound": "off", "outbound": "off"}

    assert levels(host, NOW) == ON
    assert redirected(host, ears)
    assert done(host, {"verb": "redirect counters"})["rules"] == []
    assert levels(host, {"verb": "redirect remove", "now": "yes"}) == OFF
    assert ears.heard(host.peer, *APPLICATION)[0] == APPLICATION


# the proxy's unit, and boot ------------------------------------------------------------------------


def test_arm_needs_the_proxys_own_listeners(host: Host) -> None:
    with Listeners() as ears:
        assert refused(host, ARM)[0] == Reason.PROXY_LISTENER_ABSENT
        ears.add_proxy(host.space, uid=1000)
        assert refused(host, ARM) == (
            "ProxyListenerForeign",
            "cannot redirect: uid 1000 listens on port 4143, not the proxy's 2102",
        )
    with Listeners() as ears:
        ears.add_proxy(host.space)
        assert levels(host, ARM) == ON


@pytest.mark.parametrize(
    ("policies", "expected"),
    [
        ("", ("block", "released")),
        ('inbound_failure = "open"\noutbound_failure = "closed"', ("released", "block")),
        ('mode = "off"', RELEASED),
    ],
)
def test_failed_is_the_failure_policy(host: Host, policies: str, expected: tuple[str, str]) -> None:
    host.config.write_text(host.config.read_text().replace("[redirect]", f"[redirect]\n{policies}"))
    assert levels(host, FAILED) == expected


def test_the_first_configuration_is_approved_by_its_first_rules_and_no_other(host: Host, ears: Listeners) -> None:
    ears.add_proxy(host.space)
    assert levels(host, apply(*BLOCKED)) == BLOCKED
    host.config.write_text(host.config.read_text().replace("[8080]", "[8081]"))
    for request in (apply(*ON), ARM, FAILED, RESTORE, {"verb": "redirect block", "direction": "both"}):
        done(host, request)
        assert "8081" not in host.space.run("nft", "list", "ruleset"), request
    host.space.run("nft", "flush", "ruleset")
    done(host, apply(*ON))
    assert "8081" not in host.space.run("nft", "list", "ruleset")
    assert levels(host, NOW) == ON
    assert "8080" not in host.space.run("nft", "list", "ruleset")
    assert "edited" not in done(host, CHECK)


def test_comments_and_what_is_no_part_of_the_redirect_are_no_edit(host: Host) -> None:
    done(host, apply(*BLOCKED))
    host.config.write_text("# later\n" + host.config.read_text().replace("/etc/ca.pem", "/etc/other.pem"))
    assert done(host, CHECK) == {"ok": True, "inbound": "block", "outbound": "released"}


def test_what_only_lets_go_approves_nothing(host: Host) -> None:
    done(host, apply(*RELEASED))
    host.config.write_text(host.config.read_text().replace("[8080]", "[8081]"))
    done(host, apply(*BLOCKED))
    assert "8081" in host.space.run("nft", "list", "ruleset")


def test_one_direction_at_a_time(host: Host) -> None:
    def to(verb: str, direction: str) -> tuple[object, object]:
        return levels(host, {"verb": f"redirect {verb}", "direction": direction})

    assert to("block", "inbound") == ("block", "released")
    assert to("block", "outbound") == ("block", "block")
    assert to("release", "inbound") == ("released", "block")
    assert to("block", "both") == ("block", "block")
    host.space.run("nft", "add rule inet fairlead inbound tcp dport 25 drop")
    assert to("release", "outbound") == ("block", "released")
    assert to("release", "both") == RELEASED


def test_at_boot_what_was_approved_comes_back(host: Host, ears: Listeners) -> None:
    assert levels(host, RESTORE) == BLOCKED  # nothing approved yet: the configuration
    ears.add_proxy(host.space)
    done(host, apply(*ON))
    host.space.run("nft", "flush", "ruleset")
    host.config.write_text("broken meanwhile")
    assert levels(host, RESTORE) == ON
    done(host, {"verb": "phase set", "phase": "left"})
    host.space.run("nft", "flush", "ruleset")
    assert levels(host, RESTORE) == OFF


# removal -------------------------------------------------------------------------------------------


def test_removal_waits_for_the_streams_that_the_proxy_has(host: Host, ears: Listeners) -> None:
    ears.add_proxy(host.space)
    done(host, apply(*ON))
    with ears.stream(host.peer, *APPLICATION) as stream:
        answer = done(host, REMOVE)
        assert (answer["inbound"], answer["streams"]) == ("released", 1)
        stream.flow()
        assert refused(host, apply(*BLOCKED))[0] == "RedirectSuspended"
    while "streams" in done(host, REMOVE):
        pass
    assert host.space.run("nft", "list", "ruleset") == ""
    assert refused(host, apply(*ON))[0] == "RedirectSuspended"
    assert levels(host, RESTORE) == OFF
    assert levels(host, NOW) == ON


def test_removal_at_once(host: Host, ears: Listeners) -> None:
    ears.add_proxy(host.space)
    done(host, apply(*ON))
    with ears.stream(host.peer, *APPLICATION):
        assert levels(host, {"verb": "redirect remove", "now": "yes"}) == OFF
    assert host.space.run("nft", "list", "ruleset") == ""


def test_removal_of_a_trial_and_with_no_configuration(host: Host, ears: Listeners) -> None:
    ears.add_proxy(host.space)
    done(host, LONG_TRIAL)
    host.config.unlink()
    assert levels(host, REMOVE) == OFF
    assert host.space.run("nft", "list", "ruleset") == ""


def test_after_leaving_removal_remembers_nothing(host: Host) -> None:
    done(host, apply(*ON))
    done(host, {"verb": "phase set", "phase": "left"})
    done(host, REMOVE)
    done(host, {"verb": "phase set", "phase": "member"})
    assert levels(host, apply(*ON)) == ON
