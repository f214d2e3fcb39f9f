"""What is applied without the agent: nothing is closed before the first Ready, nor on a host that has left."""

from pathlib import Path

import pytest

from tests.privileged.helper_requests import CHECK, apply, ask
from tests.privileged.hosts import CONFIG, Host, Listeners
from tests.privileged.levels import ARM, BLOCKED, FAILED, NOW, OFF, ON, RELEASED, RESTORE, done, levels

RECORD = {"verb": "ready record"}
BY_DEFAULT = 'inbound_failure = "closed"\n'


@pytest.fixture
def fresh(host: Host) -> Host:
    """A host whose configuration says nothing about failures."""
    host.config.write_text(CONFIG.replace(BY_DEFAULT, ""))
    return host


def leave(host: Host) -> None:
    done(host, {"verb": "phase set", "phase": "left"})


def record(host: Host) -> Path:
    return host.prefix / "var/lib/fairlead/ready-once"


@pytest.mark.parametrize("request_", [FAILED, RESTORE, NOW])
def test_before_the_first_ready_a_port_stays_open_and_from_then_on_it_closes(
    fresh: Host, request_: dict[str, str]
) -> None:
    assert levels(fresh, request_) == RELEASED
    assert done(fresh, RECORD)["recorded"] is True
    assert record(fresh).read_text() == "shop/db-1 spiffe://td/db-1\n"
    assert levels(fresh, request_) == BLOCKED


def test_closed_that_is_written_is_closed_from_the_first_start_on(host: Host) -> None:
    for request in (FAILED, RESTORE, NOW):
        assert levels(host, request) == BLOCKED


def test_a_reboot_remembers(fresh: Host) -> None:
    with Listeners() as ears:
        ears.add_proxy(fresh.space)
        assert levels(fresh, ARM) == ON
    fresh.space.run("nft", "flush", "ruleset")
    assert levels(fresh, RESTORE) == RELEASED  # it never was Ready
    done(fresh, RECORD)
    fresh.space.run("nft", "flush", "ruleset")
    assert levels(fresh, RESTORE) == BLOCKED
    fresh.config.write_text("broken meanwhile")  # what was approved says who this host is
    fresh.space.run("nft", "flush", "ruleset")
    assert levels(fresh, RESTORE) == BLOCKED


def test_another_member_of_the_mesh_begins_anew(fresh: Host) -> None:
    done(fresh, RECORD)
    for old, new in (('name = "db-1"', 'name = "db-2"'), ("spiffe://td/db-1", "spiffe://td/db-9")):
        text = fresh.config.read_text()
        fresh.config.write_text(text.replace(old, new))
        assert levels(fresh, FAILED) == RELEASED
        fresh.config.write_text(text)
        assert levels(fresh, FAILED) == BLOCKED


def test_leaving_begins_anew_and_a_host_that_has_left_records_nothing(fresh: Host) -> None:
    done(fresh, RECORD)
    leave(fresh)
    assert not record(fresh).exists()
    assert done(fresh, RECORD)["recorded"] is False and not record(fresh).exists()
    done(fresh, {"verb": "phase set", "phase": "member"})
    assert levels(fresh, FAILED) == RELEASED


def test_a_record_that_is_not_roots_alone_is_not_trusted(fresh: Host) -> None:
    done(fresh, RECORD)
    record(fresh).chmod(0o666)
    code, answer = ask(fresh, FAILED)
    assert (code, answer["reason"]) == (1, "RedirectFailed")
    assert "users other than its owner may write it" in str(answer["detail"])


# a host that has left ------------------------------------------------------------------------------


def test_on_a_host_that_has_left_nothing_is_closed(host: Host, ears: Listeners) -> None:
    """Whatever starts and stops its proxy, and for any failure policy."""
    leave(host)
    for request in (FAILED, RESTORE, ARM):
        assert levels(host, request) == OFF
    ears.add_proxy(host.space)
    assert levels(host, ARM) == OFF
    assert host.space.run("nft", "list", "ruleset") == ""


def test_the_end_of_the_proxy_in_leaving_closes_nothing(host: Host) -> None:
    done(host, apply(*RELEASED))
    leave(host)
    assert levels(host, FAILED) == OFF
    done(host, apply("block", "block"))
    assert levels(host, FAILED) == RELEASED
    assert levels(host, NOW) == RELEASED
    assert levels(host, CHECK) == RELEASED
