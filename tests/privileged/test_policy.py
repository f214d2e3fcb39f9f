"""Root's configuration → what may be redirected, and what never is."""

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from agent.core.reasons import Reason
from agent.core.redirect import Exceptions, Inbound, Outbound, RedirectSpec
from agent.host import Host
from agent.privileged import Refusal
from agent.privileged.redirect import host_rules, request_cache, specification
from agent.privileged.system import session, sshd, subnets
from tests.lab.netns import Namespace, namespace
from tests.privileged.hosts import CONFIG, files, listening, wired_host


def spec(prefix: Path, config: str = CONFIG) -> RedirectSpec:
    files(prefix, config)
    return specification.spec(prefix)


def refusal(prefix: Path, config: str) -> Refusal:
    files(prefix, config)
    with pytest.raises(Refusal) as caught:
        specification.approved(prefix)
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
        control_ports=frozenset({8086, 8090}),
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
        ("user = 2102", 'user = "nosuch"', Reason.CONFIGURATION_UNUSABLE, "cannot find the proxy's user 'nosuch'"),
        ("ports = [8080]", "ports = [22]", Reason.CONFIGURATION_UNUSABLE, "workload.ports: 22 is SSH's port"),
        ("ports = [8080]", "ports = [", Reason.CONFIGURATION_UNUSABLE, "not valid TOML"),
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


NAMES = frozenset({"sshd"})


@pytest.mark.parametrize("address", ["0.0.0.0", "127.0.0.1", "::", "::1"])
def test_sshd_is_found_where_it_listens(space: Namespace, address: str) -> None:
    assert space.inside(lambda: sshd.listening(NAMES)) == frozenset()
    with listening(space, "sshd", address, 2222), listening(space, "db", address, 8080):
        assert space.inside(lambda: sshd.listening(NAMES)) == {2222}
        assert 2222 in space.inside(sshd.ports)
    for name in ("dropbear", "tailscaled"):
        with listening(space, name, address, 2222):
            assert 2222 in space.inside(sshd.ports)
    assert space.inside(lambda: sshd.listening(NAMES)) == frozenset()


def test_an_sshd_of_another_network_namespace_is_none_of_ours(space: Namespace) -> None:
    with namespace() as other, listening(other, "sshd", "0.0.0.0", 2222):
        assert space.inside(lambda: sshd.listening(NAMES)) == frozenset()


@pytest.mark.parametrize(
    ("value", "ports"),
    [
        (b"198.51.100.7 51234 192.0.2.10 2022", {2022}),
        (b"::1 51234 ::1 22", {22}),
        (b"", set()),
        (b"x", set()),
        (b"\xff \xff \xff \xff", set()),
    ],
)
def test_the_session_that_asks(value: bytes, ports: set[int]) -> None:
    assert session.of_environment({b"SSH_CONNECTION": value}) == ports


def test_a_name_of_a_server_counts_with_a_socket_of_roots_alone(space: Namespace) -> None:
    """Any user may name a process sshd, and would prevent a port from being redirected."""
    with listening(space, "sshd", "0.0.0.0", 2222, uid=1000):
        assert space.inside(lambda: sshd.listening(NAMES)) == frozenset()
        assert 2222 not in space.inside(sshd.ports)


def test_what_sshd_is_configured_to() -> None:
    said = "port 22\nport 2222\naddressfamily any\nlistenaddress [::]:22\nlistenaddress 0.0.0.0:2022\nxport 5\n"
    assert sshd.of_configuration(said) == {22, 2222, 2022}
    assert sshd.of_configuration("") == frozenset()


def test_what_systemd_listens_on_for_sshd() -> None:
    said = """Listen=0.0.0.0:22 (Stream)
Listen=[::]:2022 (Stream)
Listen=/run/ssh.sock (Stream)
ActiveState=inactive
UnitFileState=enabled

Listen=[::]:2222 (Stream)
ActiveState=active
UnitFileState=disabled

Listen=[::]:9999 (Stream)
ActiveState=inactive
UnitFileState=disabled
"""
    assert sshd.of_sockets(said) == {22, 2022, 2222}
    assert sshd.of_sockets("") == frozenset()


# choices -------------------------------------------------------------------------------------------


def chosen(prefix: Path, lines: str) -> RedirectSpec:
    return spec(prefix, CONFIG.replace("[redirect]", f"[redirect]\n{lines}"))


def test_exceptions(prefix: Path) -> None:
    found = chosen(
        prefix,
        """inbound_except_ports = [9000, "9002-9003"]
inbound_except_networks = ["198.51.100.0/24"]
inbound_except_interfaces = ["eth1"]
outbound_except_uids = [7, "nobody"]
outbound_except_gids = ["nogroup"]
outbound_except_networks = ["10.42.1.0/24"]
""",
    )
    assert found.inbound_except == Exceptions(
        ports=frozenset({9000, 9002, 9003}),
        networks=(ip_network("198.51.100.0/24"),),
        interfaces=frozenset({"eth1"}),
    )
    assert found.outbound_except == Exceptions(
        networks=(ip_network("10.42.1.0/24"),), uids=frozenset({7, 65534}), gids=frozenset({65534})
    )


def test_an_unknown_account_is_named(prefix: Path) -> None:
    with pytest.raises(Refusal, match="cannot find 'nosuch'"):
        chosen(prefix, 'outbound_except_gids = ["nosuch"]')


def test_the_guides_preset(prefix: Path, space: Namespace) -> None:
    files(prefix, CONFIG.replace("[redirect]", '[redirect]\nmode = "linkerd-guide"\nforce = true'))
    with listening(space, "sshd", "0.0.0.0", 2222), listening(space, "docker-proxy", "0.0.0.0", 8443):
        found = space.inside(lambda: specification.approved(prefix))
    assert (found.inbound, found.outbound) == (Inbound.ALL, Outbound.ALL)
    assert found.inbound_except.ports == {4190, 4191, 4567, 4568}
    assert found.outbound_except.ports == {4567, 4568}
    assert {22, 2222} <= found.ssh_ports
    assert found.published == {(ip_address("10.9.0.2"), 8443)}


def test_exempt_ports_are_remembered_with_their_addresses(tmp_path: Path) -> None:
    """What an older version wrote says nothing of addresses: such a port is exempt at every one."""
    published = frozenset({(ip_address("10.9.0.2"), 8080), (ip_address("fd09::2"), 8080), (None, 9000)})
    path = Host(tmp_path).exempt_ports
    with request_cache.request(tmp_path):
        assert host_rules.remembered() is None
        host_rules.remember(tmp_path, host_rules.Exempt(frozenset({22}), published))
        assert host_rules.remembered() == host_rules.Exempt(frozenset({22}), published)
        path.write_text('{"ssh": [22, 2222], "published": [8080, 9000]}')
        old = host_rules.Exempt(frozenset({22, 2222}), frozenset({(None, 8080), (None, 9000)}))
        assert host_rules.remembered() == old
        for bad in ('[["x", 1]]', '[[null, "x"]]', "[1.5]"):
            path.write_text(f'{{"ssh": [22], "published": {bad}}}')
            assert host_rules.remembered() is None


@pytest.mark.parametrize(("force", "refused"), [("false", True), ("true", False)])
@pytest.mark.parametrize("network", ["10.9.0.0/16", "fd09::/32"])
def test_a_network_that_holds_a_subnet_of_this_host(prefix: Path, network: str, force: str, refused: bool) -> None:
    networks = f'outbound_networks = ["{network}"]\nforce = {force}'
    text = CONFIG.replace('outbound_networks = ["10.42.0.0/16", "fd42::/64"]', networks)
    with wired_host(prefix) as host:
        assert host.space.inside(subnets.connected) == {ip_network("10.9.0.0/24"), ip_network("fd09::/64")}
        host.config.write_text(text)
        if refused:
            with pytest.raises(Refusal, match="a subnet of this host") as caught:
                host.space.inside(lambda: specification.approved(prefix))
            assert caught.value.reason is Reason.REDIRECT_REFUSED
        else:
            assert host.space.inside(lambda: specification.approved(prefix)).networks == (ip_network(network),)


def test_the_port_of_the_session_that_asks_is_not_caught(prefix: Path) -> None:
    files(prefix, CONFIG.replace("[redirect]", '[redirect]\ninbound = "all"'))
    with pytest.raises(Refusal, match="cannot redirect port 2022: this session uses it"):
        specification.approved(prefix, frozenset({2022}))


@pytest.mark.parametrize(
    ("lines", "name"), [("", "auto"), ('backend = "iptables-nft"', "iptables-nft"), ("x = 1", "auto")]
)
def test_the_backend(prefix: Path, lines: str, name: str) -> None:
    files(prefix, CONFIG.replace("[redirect]", f"[redirect]\n{lines}"))
    assert specification.backend(prefix) == name


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("ports = [8080]", "ports = [8080, 9090]", "workload.ports"),
        ('"10.9.0.2", ', "", "host.addresses"),
        ("user = 2102", "user = 2103", "proxy.user"),
        ("10.42.0.8:6443", "10.42.0.8:7443", "api.server"),
        ("[redirect]", '[control_plane]\npolicy = "127.0.0.1:9"\n[redirect]', "control_plane"),
        ('inbound_failure = "closed"', 'inbound_failure = "open"', "redirect.inbound_failure"),
        ("/etc/token", "/etc/other", ""),
    ],
)
def test_what_of_an_edited_configuration_waits(prefix: Path, old: str, new: str, named: str) -> None:
    files(prefix / "approved", CONFIG)
    files(prefix, CONFIG.replace(old, new))
    assert specification.edited(prefix, prefix / "approved") == named
