"""Configuration → values: what stands in the file arrives, field by field."""

import dataclasses
import pwd
from pathlib import Path

import pytest

from agent import config
from agent.config import derived
from agent.core.failure import Failure
from agent.host import Host

NOWHERE = Path("/nowhere")  # no redirect was approved there
EXAMPLE = (Path(__file__).parents[2] / "config/fairlead.toml").read_text()


def of(old: str = "", new: str = "") -> config.Config:
    assert old in EXAMPLE
    return config.parse(EXAMPLE.replace(old, new) if old else EXAMPLE)


def test_the_example_as_a_policy() -> None:
    spec = derived.policy_spec(of(), NOWHERE, "boot")
    assert (spec.identity, spec.boot_id) == ("spiffe://root.linkerd.cluster.local/db-1", "boot")
    assert (spec.addresses, spec.ports) == (("192.0.2.10",), (5432,))
    assert (spec.redirect, spec.outbound, spec.inbound_failure, spec.outbound_failure) == (
        True,
        True,
        Failure.CLOSED_AFTER_READY,
        Failure.OPEN,
    )
    assert (spec.probe_window, spec.settle, spec.drain_timeout) == (33.0, 5.0, 60.0)


@pytest.mark.parametrize(
    ("old", "new", "changed"),
    [
        ('mode = "declared"', 'mode = "off"', {"redirect": False}),
        ('["10.42.0.0/16", "10.43.0.0/16"]', "[]", {"outbound": False}),
        ('inbound_failure = "closed-after-ready"', 'inbound_failure = "open"', {"inbound_failure": Failure.OPEN}),
        ('outbound_failure = "open"', 'outbound_failure = "closed"', {"outbound_failure": Failure.CLOSED}),
        ("settle = 5", "settle = 9", {"settle": 9.0}),
        ("timeout = 60", "timeout = 90", {"drain_timeout": 90.0}),
        ("period = 10", "period = 60", {"probe_window": 183.0}),
    ],
)
def test_each_key_reaches_the_policy(old: str, new: str, changed: dict[str, object]) -> None:
    expected = dataclasses.replace(derived.policy_spec(of(), NOWHERE, "boot"), **changed)  # type: ignore[arg-type]
    assert derived.policy_spec(of(old, new), NOWHERE, "boot") == expected


def test_the_example_as_settings_of_the_proxy() -> None:
    settings, file = derived.proxy_settings(of()), of()
    for name in ("log", "log_format", "cores", "grace", "default_inbound_policy"):
        assert getattr(settings, name) == getattr(file.proxy, name)
    for name in ("cluster_domain", "trust_domain", "destination", "policy"):
        assert getattr(settings, name) == getattr(file.control_plane, name)
    assert (settings.workload, settings.namespace, settings.ports) == ("db-1", "shop", (5432,))
    assert (settings.addresses, settings.cluster_networks) == (("192.0.2.10",), ("10.0.0.0/8",))
    assert settings.workload_api == "/run/spire/agent/public/api.sock"


def test_the_current_proxy_is_the_default(tmp_path: Path) -> None:
    home = tmp_path / "var/lib/fairlead/proxy"
    (home / "2.350.0").mkdir(parents=True)
    prefix = str(tmp_path)
    assert derived.proxy_version(of(), prefix) == derived.USUAL_VERSION
    (home / "current").symlink_to("2.350.0")
    assert derived.proxy_binary(of(), prefix) == f"{home}/current/linkerd2-proxy"
    assert derived.proxy_settings(of(), prefix).version == derived.proxy_version(of(), prefix) == "2.350.0"
    by_hand = of('#version = "2.366.0"', 'version = "2.360.0"')
    assert derived.proxy_version(by_hand, prefix) == "2.360.0"
    by_hand = of('#binary = "/var/lib/fairlead/proxy/current/linkerd2-proxy"', 'binary = "/opt/linkerd2-proxy"')
    assert (derived.proxy_binary(by_hand, prefix), derived.proxy_version(by_hand, prefix)) == (
        "/opt/linkerd2-proxy",
        derived.USUAL_VERSION,
    )


def test_the_proxys_owner() -> None:
    nobody = pwd.getpwnam("nobody")
    assert derived.proxy_owner(of('"fairlead-proxy"', '"nobody"')) == (nobody.pw_uid, nobody.pw_gid)
    assert derived.proxy_owner(of('"fairlead-proxy"', str(nobody.pw_uid))) == (nobody.pw_uid, nobody.pw_gid)
    assert derived.proxy_owner(of('"fairlead-proxy"', "987654")) == (987654, 987654)
    with pytest.raises(KeyError):
        derived.proxy_owner(of('"fairlead-proxy"', '"no-such-user"'))


def test_the_redirect_is_the_one_that_root_approved(tmp_path: Path) -> None:
    present = of('mode = "declared"', 'mode = "off"')
    assert not derived.policy_spec(present, tmp_path, "boot").redirect
    approved = tmp_path / "var/lib/fairlead/approved/etc/fairlead/fairlead.toml"
    approved.parent.mkdir(parents=True)
    approved.write_text(EXAMPLE)
    edited = of("settle = 5", "settle = 9")
    for after, settle in ((present, 5.0), (edited, 9.0)):
        found = derived.policy_spec(after, tmp_path, "boot")
        assert (found.redirect, found.settle) == (True, settle), "of the redirect alone"
    approved.write_text("broken")
    assert not derived.policy_spec(present, tmp_path, "boot").redirect


@pytest.mark.parametrize("period", ["4.9", "60.1", '"10s"', "true"])
def test_a_period_of_the_lease_is_5_to_60_seconds(period: str) -> None:
    assert of("lease_period = 10", "lease_period = 60").api.lease_period == 60.0
    with pytest.raises(config.ConfigError) as caught:
        of("lease_period = 10", f"lease_period = {period}")
    assert [problem.key for problem in caught.value.problems] == ["api.lease_period"]


# slots ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("approved", "edited", "listens", "named"),
    [
        (None, True, True, True),
        (True, True, True, True),
        (False, True, False, False),
        (True, False, False, True),
        (False, False, False, False),
    ],
    ids=["never approved", "both", "not approved yet", "given up", "none"],
)
def test_a_proxy_listens_at_its_slot_while_file_and_approval_agree(
    tmp_path: Path, approved: bool | None, edited: bool, listens: bool, named: bool
) -> None:
    """Else at every address, where the rules of both lead; it is read where the rules in force lead."""
    four = EXAMPLE.replace("slots = false", "slots = true").replace("standby = false", "standby = true")
    texts = {True: four, False: EXAMPLE}
    if approved is not None:
        copy = Host(tmp_path).approved.configuration
        copy.parent.mkdir(parents=True)
        copy.write_text(texts[approved])
    found = config.parse(texts[edited])
    settings = derived.proxy_settings(found, str(tmp_path))
    assert (settings.slot is not None, settings.named is not None) == (listens, named)
    spec = derived.policy_spec(found, tmp_path, "boot")
    assert (spec.slots, spec.standby) == (named, listens)
