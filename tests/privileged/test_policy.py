"""Root's configuration → what may be redirected, and what never is."""

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from agent.core.reasons import Reason
from agent.core.redirect import RedirectSpec
from agent.privileged import Refusal, policy, sshd
from tests.netns import Namespace, namespace
from tests.privileged.hosts import CONFIG, files, listening


def spec(prefix: Path, config: str = CONFIG) -> RedirectSpec:
    files(prefix, config)
    return policy.spec(prefix)


def refusal(prefix: Path, config: str) -> Refusal:
    files(prefix, config)
    with pytest.raises(Refusal) as caught:
        policy.approved(prefix)
    return caught.value


@pytest.fixture
def prefix(root: None, tmp_path: Path) -> Path:
    return tmp_path


def test_the_configuration_says_all(prefix: Path) -> None:
    assert spec(prefix) == RedirectSpec(
        proxy_uid=2102,
        addresses=(ip_address("10.9.0.2"), ip_address("fd09::2")),
        ports=frozenset({8080}),
        networks=(ip_network("10.42.0.0/16"), ip_network("fd42::/64")),
        exempt=((ip_address("10.42.0.9"), 443), (ip_address("fd42::9"), 443), (ip_address("10.42.0.8"), 6443)),
    )


@pytest.mark.parametrize(
    ("server", "endpoint"),
    [
        ("https://10.42.0.8:6443", (ip_address("10.42.0.8"), 6443)),
        ("https://10.42.0.8", (ip_address("10.42.0.8"), 443)),
        ("https://[fd42::8]:6443/", (ip_address("fd42::8"), 6443)),
        ("https://kubernetes.example:6443", None),
    ],
)
def test_the_api_server_is_exempt_where_it_is_named_by_address(
    prefix: Path, server: str, endpoint: object
) -> None:
    found = spec(prefix, CONFIG.replace("https://10.42.0.8:6443", server))
    assert found.exempt[2:] == ((endpoint,) if endpoint else ())


def test_the_proxys_user_by_name(prefix: Path) -> None:
    found = spec(prefix, CONFIG.replace("user = 2102", 'user = "nobody"'))
    assert found.proxy_uid == 65534


@pytest.mark.parametrize(
    ("line", "instead", "reason", "detail"),
    [
        ("user = 2102", 'user = "nosuch"', Reason.REDIRECT_FAILED, "cannot find the proxy's user 'nosuch'"),
        ("ports = [8080]", "ports = [22]", Reason.REDIRECT_FAILED, "workload.ports: 22 is SSH's port"),
        ("ports = [8080]", "ports = [", Reason.REDIRECT_FAILED, "not valid TOML"),
        ("[redirect]", '[redirect]\nmode = "off"', Reason.REDIRECT_REFUSED, 'redirect.mode is "off"'),
    ],
)
def test_a_configuration_that_is_refused(
    prefix: Path, line: str, instead: str, reason: Reason, detail: str
) -> None:
    found = refusal(prefix, CONFIG.replace(line, instead))
    assert (found.reason or Reason.REDIRECT_FAILED) is reason
    assert detail in found.detail


def test_root_under_another_name_is_no_proxy(prefix: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclass
    class Toor:
        pw_uid: int = 0

    monkeypatch.setattr("pwd.getpwnam", lambda name: Toor())
    found = refusal(prefix, CONFIG.replace("user = 2102", 'user = "toor"'))
    assert found.reason is Reason.REDIRECT_REFUSED


# sshd ----------------------------------------------------------------------------------------------


@pytest.fixture
def space(root: None) -> Iterator[Namespace]:
    with namespace() as made:
        yield made


@pytest.mark.parametrize("address", ["0.0.0.0", "127.0.0.1", "::", "::1"])
def test_sshd_is_found_where_it_listens(space: Namespace, address: str) -> None:
    assert space.inside(sshd.ports) == frozenset()
    with listening(space, "sshd", address, 2222), listening(space, "db", address, 8080):
        assert space.inside(sshd.ports) == {2222}
    assert space.inside(sshd.ports) == frozenset()


def test_an_sshd_of_another_network_namespace_is_none_of_ours(space: Namespace) -> None:
    with namespace() as other, listening(other, "sshd", "0.0.0.0", 2222):
        assert space.inside(sshd.ports) == frozenset()
