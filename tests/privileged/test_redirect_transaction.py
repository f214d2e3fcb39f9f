"""A redirect that never cuts a host off: tested when it is set, on trial where requested, and reverted
completely."""

import base64
import fcntl
import json
from pathlib import Path

import pytest

from tests.privileged.firewalls import BACKENDS, force
from tests.privileged.helper_requests import CHECK, apply, ask
from tests.privileged.hosts import APP, INBOUND, SSH, Host, Listeners, nft_and_then, with_nft
from tests.privileged.levels import (
    APPLICATION,
    ARM,
    BLOCKED,
    CONFIRM,
    FAILED,
    LONG_TRIAL,
    NETWORK,
    NOW,
    OFF,
    ON,
    RELEASED,
    RESTORE,
    REVERT,
    TRIAL,
    V4,
    closed,
    counted,
    done,
    levels,
    plain,
    redirected,
    refused,
)

HARM = "insert rule inet fairlead inbound tcp dport 22 dnat to :4143"


# the self-test -------------------------------------------------------------------------------------


def test_rules_that_catch_ssh_are_taken_back_at_once(host: Host, ears: Listeners, tmp_path: Path) -> None:
    ears.add(host.space, "0.0.0.0", SSH)
    ears.add_listeners(host.space)
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


def test_where_nothing_was_tracking_stays(host: Host, ears: Listeners, tmp_path: Path) -> None:
    """Reverted without it, a stream that was redirected during the trial would be reset."""
    ears.add_listeners(host.space)
    refused(host, apply(*ON), *with_nft(nft_and_then(tmp_path, HARM)))
    rules = host.space.run("nft", "list", "ruleset")
    assert "ct state" in rules
    assert "4140" not in rules


def test_what_somebody_changed_by_hand_does_not_come_back_in_part(
    host: Host, ears: Listeners, tmp_path: Path
) -> None:
    ears.add_listeners(host.space)
    done(host, apply(*BLOCKED))
    host.space.run(
        "nft", "insert rule inet fairlead inbound_block ip ttl 7 tcp dport 1-1000 reject with tcp reset"
    )
    refused(host, apply(*ON), *with_nft(nft_and_then(tmp_path, HARM)))
    assert "ttl" not in host.space.run("nft", "list", "ruleset")


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
    """And the restored rules are of the approved configuration, whatever the file contains now."""
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
    assert "dnat" not in host.space.run("nft", "list", "ruleset")


def over(host: Host) -> None:
    """As the kernel does when the time of the trial has expired."""
    host.space.run("nft", "delete", "element", "inet", "fairlead", "trial", "{ host }")


def declare(host: Host, port: int) -> None:
    host.config.write_text(host.config.read_text().replace("ports = [", f"ports = [{port}, "))


OTHER = 8081


def test_a_proxy_that_ends_does_not_end_the_trial(host: Host, ears: Listeners) -> None:
    """Else what it closes would stay so, also where the trial is to find out what it closes."""
    ears.add_proxy(host.space)
    done(host, NOW)
    declare(host, OTHER)
    done(host, LONG_TRIAL)
    assert "trial" in done(host, FAILED)
    assert int(str(done(host, CHECK)["trial"])) <= 600
    assert levels(host, RESTORE) == BLOCKED
    assert str(OTHER) in host.space.run("nft", "list", "chain", "inet", "fairlead", "inbound_block")
    assert closed(host)
    assert levels(host, ARM) == ON  # as long as it is on trial
    assert str(OTHER) in host.space.run("nft", "list", "chain", "inet", "fairlead", "inbound")
    assert "trial" in done(host, FAILED)
    over(host)
    assert closed(host)
    assert levels(host) == BLOCKED
    assert refused(host, ARM)[0] == "RedirectSuspended"
    assert levels(host, FAILED) == BLOCKED
    assert str(OTHER) not in host.space.run("nft", "list", "ruleset")


def test_a_trial_after_a_trial_keeps_nothing_of_the_first(host: Host, ears: Listeners) -> None:
    ears.add_proxy(host.space)
    done(host, NOW)
    declare(host, OTHER)
    done(host, LONG_TRIAL)
    assert done(host, {"verb": "redirect apply", "confirm": "700"})["trial"] == 700  # of the same once more
    over(host)
    assert levels(host) == ON
    done(host, LONG_TRIAL)
    declare(host, 8082)
    done(host, LONG_TRIAL)
    assert levels(host, REVERT) == ON
    rules = host.space.run("nft", "list", "ruleset")
    assert str(OTHER) not in rules and "8082" not in rules


# another backend -----------------------------------------------------------------------------------


IPTABLES = [name for name in BACKENDS if name != "nftables"]


@pytest.mark.parametrize("backend", IPTABLES)
def test_by_iptables_rules_are_set_and_counted(host: Host, ears: Listeners, backend: str) -> None:
    force(host, backend)
    ears.add_proxy(host.space)
    ears.add(host.space, V4.host, APP)
    assert levels(host, NOW) == ON
    for hit, level in ((redirected, ON), (lambda host, _: closed(host), BLOCKED)):
        done(host, apply(*level))
        before = counted(host)
        assert hit(host, ears) and hit(host, ears)
        after = counted(host)
        assert after.pop("inbound: declared ports, IPv4") == before.pop("inbound: declared ports, IPv4") + 2
        assert after == before
    assert levels(host, {"verb": "redirect remove", "now": "yes"}) == RELEASED
    assert ears.heard(host.peer, *APPLICATION)[0] == APPLICATION
    ears.end()
    assert levels(host, {"verb": "redirect remove", "now": "yes"}) == OFF


@pytest.mark.parametrize("backend", IPTABLES)
def test_by_iptables_none_are_on_trial_where_nothing_keeps_the_time(
    host: Host, ears: Listeners, tmp_path: Path, backend: str
) -> None:
    """A trial that cannot be guaranteed is refused, and nothing has changed."""
    force(host, backend)
    ears.add_proxy(host.space)
    systemd = Systemd(tmp_path)
    systemd.run.write_text("#!/bin/sh\necho no bus >&2\nexit 1\n")
    no_systemd = ("unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /run; exec "$@"', "sh")
    made = "mount -t tmpfs none /run; mkdir -p /run/systemd/system"
    elsewhere = ("unshare", "--mount", "sh", "-c", f'{made}; exec "$@"')
    for around, why in (
        (no_systemd, "does not run here"),
        ((*elsewhere, "sh"), "is not in this network namespace"),
        (systemd.around, "systemd-run failed: no bus"),
    ):
        reason, detail = refused(host, TRIAL, *around)
        assert reason == "RedirectUnsupported"
        assert why in detail and "without --confirm" in detail
        assert done(host, CHECK) == {"ok": True, "inbound": "off", "outbound": "off"}


class Systemd:
    """A stand-in of systemd-run, which records its arguments. Seen from `around` the privileged helper is in
    the network namespace of process 1, and systemd runs."""

    def __init__(self, folder: Path) -> None:
        self.run, self._notes = folder / "systemd-run", folder / "notes"
        self.run.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >{self._notes}\n')
        self.run.chmod(0o755)
        stop = folder / "systemctl"
        stop.write_text(f'#!/bin/sh\n[ "$1" != stop ] || rm -f {self._notes}\n')
        stop.chmod(0o755)
        mounts = (
            "mount -t tmpfs none /run; mkdir -p /run/systemd/system",
            f"mount --bind {self.run} /usr/bin/systemd-run; mount --bind {stop} /usr/bin/systemctl",
        )
        script = f'{"; ".join(mounts)}; exec "$@"'
        self.around = ("unshare", "--mount", "--pid", "--fork", "--mount-proc", "sh", "-c", script, "sh")

    @property
    def told(self) -> list[str]:
        return self._notes.read_text().splitlines() if self._notes.exists() else []


@pytest.mark.parametrize("backend", IPTABLES)
def test_by_iptables_a_timer_is_told_to_take_back_what_is_on_trial(
    host: Host, ears: Listeners, tmp_path: Path, backend: str
) -> None:
    force(host, backend)
    ears.add_proxy(host.space)
    ears.add(host.space, V4.host, APP)
    systemd = Systemd(tmp_path)
    done(host, apply(*BLOCKED))
    assert done(host, LONG_TRIAL, *systemd.around)["trial"] == 600
    assert redirected(host, ears)
    assert "--on-active=600" in systemd.told
    assert systemd.told[-2:] == ["--prefix", str(host.prefix)]
    (data,) = (word for word in systemd.told if "StandardInputData=" in word)
    request = json.loads(base64.b64decode(data.partition("Data=")[2]))
    assert "s are left" in refused(host, request, *systemd.around)[1]
    assert 590 <= int(str(done(host, CHECK)["trial"])) <= 600

    record = host.prefix / "var/lib/fairlead/trial"
    noted = record.read_text()
    record.write_text(json.dumps({**json.loads(noted), "until": 1.0}))  # its time is over
    assert levels(host, request) == BLOCKED
    assert closed(host)
    assert str(done(host, CHECK)["suspended"]).startswith("unconfirmed")
    assert levels(host, request) == BLOCKED  # once more: there is no trial, and nothing to do

    record.write_text(noted.replace(json.loads(noted)["boot"], "another"))  # of the boot before
    assert "trial" not in done(host, CHECK)
    assert levels(host, request) == BLOCKED
    record.write_text("{}")
    assert "it is not a record of a trial" in refused(host, CHECK)[1]


@pytest.mark.parametrize("backend", IPTABLES)
def test_by_iptables_confirmed_or_taken_back_the_timer_is_gone(
    host: Host, ears: Listeners, tmp_path: Path, backend: str
) -> None:
    force(host, backend)
    ears.add_proxy(host.space)
    systemd = Systemd(tmp_path)
    ends = ((7071, CONFIRM, ON), (7072, REVERT, ON))
    for port, end, expected in ends:
        host.config.write_text(host.config.read_text().replace("ports = [", f"ports = [{port}, "))
        done(host, LONG_TRIAL, *systemd.around)
        assert systemd.told
        assert levels(host, end, *systemd.around) == expected
        assert systemd.told == []
        assert "trial" not in done(host, CHECK)


@pytest.mark.parametrize("backend", IPTABLES)
def test_by_iptables_a_proxy_that_ends_does_not_end_the_trial(
    host: Host, ears: Listeners, tmp_path: Path, backend: str
) -> None:
    force(host, backend)
    ears.add_proxy(host.space)
    done(host, NOW)
    declare(host, OTHER)
    systemd = Systemd(tmp_path)
    done(host, LONG_TRIAL, *systemd.around)
    assert levels(host, FAILED) == BLOCKED
    assert systemd.told and str(OTHER) in host.space.run(f"{backend}-save")
    record = host.prefix / "var/lib/fairlead/trial"
    record.write_text(json.dumps({**json.loads(record.read_text()), "until": 1.0}))
    assert levels(host, {"verb": "redirect revert", "due": "yes"}, *systemd.around) == BLOCKED
    assert str(OTHER) not in host.space.run(f"{backend}-save")
    assert closed(host)


def test_a_lock_that_another_program_holds_is_waited_for_and_named(host: Host, tmp_path: Path) -> None:
    """A lock of this test's own: the real one is the whole machine's."""
    force(host, "iptables-legacy")
    Path("/run/xtables.lock").touch()
    path = tmp_path / "xtables.lock"
    around = ("unshare", "--mount", "sh", "-c", 'mount --bind "$0" /run/xtables.lock; exec "$@"', str(path))
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "xtables lock" in refused(host, apply(*BLOCKED), *around)[1]
        assert levels(host) == OFF
    assert ask(host, apply(*BLOCKED), *around)[0] == 0
    assert levels(host) == BLOCKED
