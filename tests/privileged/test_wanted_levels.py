"""The current levels: armed once proved ready, the failure policy, what was approved at boot, nothing at the
end."""

import pytest

from agent.core.reasons import Reason
from tests.privileged.helper_requests import CHECK, REMOVE, apply
from tests.privileged.hosts import Host, Listeners, admin_port
from tests.privileged.levels import (
    APPLICATION,
    ARM,
    BLOCKED,
    FAILED,
    LONG_TRIAL,
    NOW,
    OFF,
    ON,
    RELEASED,
    RESTORE,
    done,
    levels,
    refused,
)

# the proxy's unit, and boot ------------------------------------------------------------------------


def test_arm_needs_the_proxys_own_listeners(host: Host) -> None:
    with Listeners() as ears:
        assert refused(host, ARM)[0] == Reason.PROXY_LISTENER_ABSENT
        ears.add_proxy(host.space, uid=1000)
        assert refused(host, ARM) == (
            "ProxyListenerForeign",
            "cannot redirect: uid 1000 listens on 10.9.0.2 port 4143, not the proxy's 2102",
        )
    with Listeners() as ears:
        ears.add_proxy(host.space)
        assert levels(host, ARM) == ON


@pytest.mark.parametrize(
    ("says", "reason"),
    [
        ({"ready": 503}, "ProxyStarting"),
        ({"expires": 0.0}, "ProxyUncertified"),  # its identity is dead: all else reports health
        ({"expires": 1.0}, "ProxyCertificateExpired"),
    ],
)
def test_arm_needs_a_proxy_that_is_proved_ready(
    host: Host, ears: Listeners, says: dict[str, float], reason: str
) -> None:
    vars(ears.add_proxy(host.space)).update(says)
    assert refused(host, ARM)[0] == reason
    assert levels(host, RESTORE) == BLOCKED  # a known fault


@pytest.mark.parametrize(("failure", "level"), [("open", "released"), ("closed", "block")])
def test_outbound_waits_for_the_policy_controllers_answer_to_this_proxy(
    host: Host, ears: Listeners, failure: str, level: str
) -> None:
    host.config.write_text(host.config.read_text() + f'outbound_failure = "{failure}"\n')
    admin = ears.add_proxy(host.space)
    admin.answered = False
    for request in (ARM, NOW, RESTORE):
        assert levels(host, request) == ("on", level)
    admin.answered = True
    for request in (ARM, NOW, RESTORE):
        assert levels(host, request) == ON


@pytest.mark.parametrize("says", [{"metrics": 403, "ready": 403}, {"live": 500}, {"hangs": True}])
def test_a_reading_that_fails_changes_nothing(host: Host, ears: Listeners, says: dict[str, object]) -> None:
    admin = ears.add_proxy(host.space)
    done(host, ARM)
    vars(admin).update(says)
    for request in (ARM, NOW, LONG_TRIAL):
        assert refused(host, request)[0] == "ProxyUnreadable"
    assert levels(host, RESTORE) == ON
    host.space.run("nft", "add rule inet fairlead inbound tcp dport 25 drop")
    assert levels(host, RESTORE) == BLOCKED  # what is damaged is nothing to hold either
    host.space.run("nft", "flush", "ruleset")
    assert refused(host, ARM)[0] == "ProxyUnreadable"
    assert levels(host, RESTORE) == BLOCKED  # nothing is there to hold, and the port stays closed


def test_the_admin_port_must_be_the_proxys_too(host: Host, ears: Listeners) -> None:
    ears.add_listeners(host.space)
    with admin_port(host.space, 1000):
        assert refused(host, ARM)[0] == "ProxyListenerForeign"


@pytest.mark.parametrize(
    ("policies", "expected"),
    [
        ("", ("block", "released")),
        ('inbound_failure = "open"\noutbound_failure = "closed"', ("released", "block")),
        ('mode = "off"', RELEASED),
    ],
)
def test_failed_is_the_failure_policy(host: Host, policies: str, expected: tuple[str, str]) -> None:
    text = host.config.read_text()
    if "inbound_failure" in policies:
        text = text.replace('inbound_failure = "closed"\n', "")
    host.config.write_text(text.replace("[redirect]", f"[redirect]\n{policies}"))
    assert levels(host, FAILED) == expected


def test_where_nothing_goes_out_through_the_proxy_outbound_is_left_alone(host: Host, ears: Listeners) -> None:
    """For any failure policy."""
    nothing = '[redirect]\noutbound = "off"\noutbound_failure = "closed"'
    host.config.write_text(host.config.read_text().replace("[redirect]", nothing))
    assert levels(host, FAILED) == BLOCKED
    ears.add_proxy(host.space)
    assert levels(host, ARM) == ("on", "released")


def test_a_host_that_left_approves_nothing(host: Host) -> None:
    done(host, {"verb": "phase set", "phase": "left"})
    done(host, apply(*BLOCKED))
    host.config.write_text(host.config.read_text().replace("[8080]", "[8081]"))
    done(host, {"verb": "phase set", "phase": "member"})
    assert levels(host, apply(*BLOCKED)) == BLOCKED
    assert "8081" in host.space.run("nft", "list", "ruleset")


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
    assert refused(host, apply(*ON))[0] == "RedirectSuspended"
    ears.end()
    assert levels(host, REMOVE) == OFF
    assert host.space.run("nft", "list", "ruleset") == ""
    assert levels(host, RESTORE) == OFF
    with Listeners() as proxy:
        proxy.add_proxy(host.space)
        assert levels(host, NOW) == ON


def test_removal_at_once(host: Host, ears: Listeners) -> None:
    """It waits for no stream; the guard waits for the proxy's end."""
    now = {"verb": "redirect remove", "now": "yes"}
    ears.add_proxy(host.space)
    done(host, apply(*ON))
    with ears.stream(host.peer, *APPLICATION):
        assert done(host, now) == {"ok": True, "inbound": "released", "outbound": "released", "guards": "yes"}
    ears.end()
    assert levels(host, now) == OFF
    assert host.space.run("nft", "list", "ruleset") == ""


def test_removal_of_a_trial_and_with_no_configuration(host: Host, ears: Listeners) -> None:
    ears.add_proxy(host.space)
    done(host, LONG_TRIAL)
    host.config.unlink()
    assert levels(host, REMOVE) == OFF
    assert host.space.run("nft", "list", "ruleset") == ""


def test_after_leaving_removal_remembers_nothing(host: Host, ears: Listeners) -> None:
    ears.add_listeners(host.space)
    done(host, apply(*ON))
    done(host, {"verb": "phase set", "phase": "left"})
    done(host, REMOVE)
    done(host, {"verb": "phase set", "phase": "member"})
    assert levels(host, apply(*ON)) == ON
