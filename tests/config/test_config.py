"""Configuration: the shipped example, every problem at once, and nothing of the host touched."""

import dataclasses
import re
import tomllib
from pathlib import Path

import pytest

from agent import config
from agent.core.probe import ProbeSpec

EXAMPLE = Path(__file__).parents[2] / "config" / "fairlead.toml"


def problems(text: str) -> dict[str, config.Problem]:
    with pytest.raises(config.ConfigError) as caught:
        config.parse(text)
    return {problem.key: problem for problem in caught.value.problems}


def example(old: str, new: str) -> str:
    text = EXAMPLE.read_text()
    assert old in text
    return text.replace(old, new)


def test_the_example_is_good() -> None:
    found = config.parse(EXAMPLE.read_text())
    assert found.workload.ports == (5432,) and found.probes[0].kind == "tcp"


def test_the_example_shows_every_key_with_its_default() -> None:
    """An operator would not find a key that the example leaves out, or comments out without its real default."""
    text = EXAMPLE.read_text()
    shown = set(re.findall(r"^#? ?([a-zA-Z_]+) = ", text, re.MULTILINE))
    sections = [f.type for f in dataclasses.fields(config.Config)]
    assert len(sections) == 12
    known = {
        field.name
        for section in map(type, vars(config.parse(text)).values())
        if dataclasses.is_dataclass(section)
        for field in dataclasses.fields(section)
    }
    assert shown == known | {field.name for field in dataclasses.fields(ProbeSpec)}


def test_every_key_has_a_comment_that_names_its_default() -> None:
    blocks = EXAMPLE.read_text().split("\n\n")
    for block in blocks[1:]:
        if " = " in block:
            assert re.search(r"^# ", block, re.MULTILINE), block
    optional = EXAMPLE.read_text().count("Default")
    assert optional >= 25


def test_every_problem_at_once() -> None:
    found = problems(
        """
        unheard = 1
        [workload]
        nam = "x"
        identity = "https://no"
        ports = [22, 99999]
        [host]
        addresses = ["127.0.0.1"]
        [proxy]
        user = "root"
        cores = true
        version = "2.329.1"
        [redirect]
        mode = "al"
        exempt = ["10.0.0.1"]
        [[probe]]
        kind = "udp"
        """
    )
    assert set(found) == {
        "unheard",
        "workload.name",
        "workload.namespace",
        "workload.nam",
        "workload.identity",
        "workload.server_name",
        "workload.ports",
        "host.addresses",
        "identity.workload_api",
        "identity.trust_anchors",
        "api.server",
        "api.ca",
        "api.token_file",
        "proxy.user",
        "proxy.cores",
        "proxy.version",
        "redirect.mode",
        "redirect.exempt",
        "probe[0].kind",
        "probe[0].port",
    }
    assert all(problem.cause and problem.remedy for problem in found.values())
    assert found["workload.nam"].remedy == "did you mean name?"
    assert "22 is SSH's port" in found["workload.ports"].cause and "99999" in found["workload.ports"].cause


def test_where_there_is_no_room_the_first_problem_stands_for_all() -> None:
    for text, said in (
        ("x =", r"not valid TOML: [^;]*"),
        ("x = 1", r"[a-z_.]+: is missing; and \d+ more"),
    ):
        with pytest.raises(config.ConfigError) as caught:
            config.parse(text)
        assert re.fullmatch(said, str(caught.value))


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ('name = "db-1"', 'name = "DB 1"', "workload.name"),
        ('"spiffe://root.linkerd.cluster.local/db-1"', '"spiffe://Root/db"', "workload.identity"),
        ('"spiffe://root.linkerd.cluster.local/db-1"', '"spiffe://root"', "workload.identity"),
        ('"spiffe://root.linkerd.cluster.local/db-1"', '"spiffe://root/a/../b"', "workload.identity"),
        ("ports = [5432]", "ports = [5432, 5432]", "workload.ports"),
        ("ports = [5432]", "ports = [4143]", "workload.ports"),
        ("ports = [5432]", "ports = []", "workload.ports"),
        ("ports = [5432]", 'ports = "5432"', "workload.ports"),
        ('["192.0.2.10"]', '["192.0.2.10", "192.0.2.11"]', "host.addresses"),
        ('["192.0.2.10"]', '["fe80::1"]', "host.addresses"),
        ('["192.0.2.10"]', "[]", "host.addresses"),
        ('"/run/spire/agent/public/api.sock"', '"api.sock"', "identity.workload_api"),
        ('"https://192.0.2.1:6443"', '"http://192.0.2.1:6443"', "api.server"),
        ('"https://192.0.2.1:6443"', '"https://192.0.2.1:x"', "api.server"),
        ('auth = "spiffe"', 'auth = "token-file"\ntoken_file = "/a"', "api.audience"),
        ('audience = "kubernetes"', "", "api.audience"),
        ('audience = "kubernetes"', 'audience = "a b"', "api.audience"),
        (
            'audience = "kubernetes"',
            'audience = "a"\nidentity = "spiffe://root.linkerd.cluster.local/db-1"',
            "api.identity",
        ),
        ('audience = "kubernetes"', 'audience = "a"\ntoken_file = "/a"', "api.token_file"),
        ('audience = "kubernetes"', 'audience = "a"\ncontext = "c"', "api.context"),
        ('audience = "kubernetes"', 'audience = "a"\ninsecure = true', "api.insecure"),
        ('user = "fairlead-proxy"', "user = 0", "proxy.user"),
        ('log = "warn,linkerd=info,hickory=error"', 'log = ""', "proxy.log"),
        ('"all-unauthenticated"\n', '"everybody"\n', "proxy.default_inbound_policy"),
        ('"10.42.0.0/16"', '"10.42.0.1/16"', "redirect.outbound_networks"),
        ("\nperiod = 10", '\nperiod = "10s"', "probe[0].period"),
        ("[[probe]]", "[probe]", "probe"),
        ("settle = 5", "settle = -1", "drain.settle"),
        ('inbound = "declared"', 'inbound = "some"', "redirect.inbound"),
        ('outbound = "networks"', 'outbound = "all"', "redirect.outbound"),
        ('outbound = "networks"', 'outbound = "uids"', "redirect.outbound_uids"),
        ('mode = "declared"', 'mode = "linkerd-guide"', "redirect.outbound"),
        ("outbound_uids = []", 'outbound_uids = ["Not A User"]', "redirect.outbound_uids"),
        ("outbound_uids = []", "outbound_uids = [true]", "redirect.outbound_uids"),
        ("inbound_except_ports = []", "inbound_except_ports = [0]", "redirect.inbound_except_ports"),
        ("inbound_except_ports = []", 'inbound_except_ports = ["9-8"]', "redirect.inbound_except_ports"),
        ("inbound_except_ports = []", 'inbound_except_ports = ["x"]', "redirect.inbound_except_ports"),
        (
            "inbound_except_networks = []",
            'inbound_except_networks = ["10.0.0.1/8"]',
            "redirect.inbound_except_networks",
        ),
        (
            "inbound_except_interfaces = []",
            'inbound_except_interfaces = ["eth*"]',
            "redirect.inbound_except_interfaces",
        ),
        ("inbound_except_ports = []", "inbound_except_uids = [7]", "redirect.inbound_except_uids"),
        ("outbound_except_gids = []", "outbound_except_gids = [-1]", "redirect.outbound_except_gids"),
        ("force = false", 'force = "no"', "redirect.force"),
        ('backend = "auto"', 'backend = "ebtables"', "redirect.backend"),
    ],
)
def test_one_problem(old: str, new: str, key: str) -> None:
    assert set(problems(example(old, new))) == {key}


def way(table: str) -> str:
    """The example with another [api]."""
    before, _, rest = EXAMPLE.read_text().partition("[api]\n")
    return f"{before}[api]\n{table}\n[proxy]{rest.partition('[proxy]')[2]}"


FILES = 'server = "https://a:1"\nca = "/ca"\n'


@pytest.mark.parametrize(
    ("table", "found"),
    [
        (FILES + 'token_file = "/t"', config.ApiConfig("token-file", "https://a:1", "/ca", token_file="/t")),
        (
            FILES + 'auth = "spiffe"\naudience = "https://k"',
            config.ApiConfig("spiffe", "https://a:1", "/ca", "https://k"),
        ),
        ('auth = "kubeconfig"\nkubeconfig = "/k"', config.ApiConfig("kubeconfig", kubeconfig="/k")),
        (
            'auth = "kubeconfig"\nkubeconfig = "/k"\ncontext = "c"',
            config.ApiConfig("kubeconfig", kubeconfig="/k", context="c"),
        ),
    ],
)
def test_each_way_to_prove_the_hosts_identity_to_the_api_server(table: str, found: config.ApiConfig) -> None:
    """A file of before there was a choice, with nothing but a token, reads as it did."""
    assert config.parse(way(table)).api == found


def test_there_is_exactly_one_way_to_prove_the_identity() -> None:
    every = FILES + 'token_file = "/t"\naudience = "a"\nkubeconfig = "/k"\ncontext = "c"\n'
    assert set(problems(way(every))) == {"api.audience", "api.kubeconfig", "api.context"}
    kubeconfig = problems(way(every + 'auth = "kubeconfig"'))
    assert set(kubeconfig) == {"api.server", "api.ca", "api.audience", "api.token_file"}


def test_a_kubeconfig_tells_the_redirect_no_address() -> None:
    text = way('auth = "kubeconfig"\nkubeconfig = "/k"').replace('outbound = "networks"', 'outbound = "all"')
    text = text.replace("force = false", "force = true")
    assert set(problems(text)) == {"redirect.exempt"}
    assert config.parse(text.replace("exempt = []", 'exempt = ["192.0.2.1:6443"]', 1))


def test_every_form_of_a_port_an_account_and_a_choice() -> None:
    text = example("inbound_except_ports = []", 'inbound_except_ports = [80, "8000-8099"]')
    text = text.replace("outbound_except_uids = []", 'outbound_except_uids = [0, "backup"]')
    found = config.parse(text).redirect
    assert found.inbound_except_ports == ((80, 80), (8000, 8099))
    assert found.outbound_except_uids == ("0", "backup")


def test_the_guides_preset_and_everything_outbound_are_forced_by_hand() -> None:
    for old, new in (
        ('mode = "declared"', 'mode = "linkerd-guide"'),
        ('outbound = "networks"', 'outbound = "all"'),
    ):
        text = example(old, new).replace("force = false", "force = true")
        assert config.parse(text).redirect.force
        named = text.replace("https://192.0.2.1:6443", "https://kubernetes.example:6443")
        assert set(problems(named)) == {"redirect.exempt"}
        assert config.parse(named.replace("exempt = []", 'exempt = ["192.0.2.1:6443"]', 1))


def test_nothing_need_be_declared_where_nothing_declared_is_redirected() -> None:
    text = example("ports = [5432]", "ports = []")
    for old, new in (('inbound = "declared"', 'inbound = "all"'), ('mode = "declared"', 'mode = "off"')):
        assert config.parse(text.replace(old, new)).workload.ports == ()


def test_policies_that_need_cluster_networks() -> None:
    text = example('cluster_networks = ["10.0.0.0/8"]', "").replace(
        '"all-unauthenticated"\n', '"cluster-authenticated"\n'
    )
    assert set(problems(text)) == {"proxy.default_inbound_policy"}


def test_two_probes_of_one_name() -> None:
    assert set(problems(EXAMPLE.read_text() + '\n[[probe]]\nname = "db"\nport = 1\n')) == {"probe"}


KINDS = {
    "http": (
        'port = 80\nscheme = "HTTPS"\npath = "/up"',
        ProbeSpec("p", "http", "192.0.2.10", 80, "/up", "https"),
    ),
    "tcp": ('port = 80\nhost = "::1"', ProbeSpec("p", "tcp", "::1", 80)),
    "grpc": ('port = 80\nservice = "a.B"', ProbeSpec("p", "grpc", "192.0.2.10", 80, service="a.B")),
    "exec": ('command = ["/bin/a", "", "-b"]', ProbeSpec("p", "exec", command=("/bin/a", "", "-b"))),
    "exec by a unit": (
        'unit = "fairlead-probe@p.service"',
        ProbeSpec("p", "exec", unit="fairlead-probe@p.service"),
    ),
    "systemd": ('unit = "a@b.service"', ProbeSpec("p", "systemd", unit="a@b.service")),
    "push": ("ttl = 90", ProbeSpec("p", "push", ttl=90)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_probe(kind: str) -> None:
    keys, spec = KINDS[kind]
    text = EXAMPLE.read_text() + f'\n[[probe]]\nname = "p"\nkind = "{spec.kind}"\n{keys}\n'
    assert config.parse(text).probes[1] == spec


def test_the_examples_of_the_page_of_probes_are_good() -> None:
    page = (EXAMPLE.parents[1] / "docs/probes.md").read_text()
    blocks = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    base = EXAMPLE.read_text().replace('name = "db"', 'name = "first"')
    kinds = [probe.kind for block in blocks for probe in config.parse(base + block).probes[1:]]
    assert set(kinds) == {"http", "grpc", "exec", "systemd", "push"}


def test_a_header_of_a_probe_is_named_once() -> None:
    text = EXAMPLE.read_text() + '\n[[probe]]\nport = 80\nheaders = { Host = "a", host = "b" }\n'
    assert "twice" in next(iter(problems(text).values())).cause


def test_headers_and_the_rhythm_of_a_probe() -> None:
    rhythm = "initial_delay = 5\nperiod = 2\ntimeout = 3\nfailure_threshold = 4\nstartup = true"
    text = EXAMPLE.read_text() + f'\n[[probe]]\nport = 80\nheaders = {{ Host = "a", X-B = "c" }}\n{rhythm}\n'
    assert config.parse(text).probes[1] == ProbeSpec(
        "http-80",
        "http",
        "192.0.2.10",
        80,
        headers=(("Host", "a"), ("X-B", "c")),
        initial_delay=5,
        period=2,
        timeout=3,
        failure_threshold=4,
        startup=True,
    )


@pytest.mark.parametrize(
    ("keys", "key"),
    [
        ('name = "p"\nkind = "tcp"\nport = 1\npath = "/"', "path"),
        ('name = "p"\nkind = "exec"\ncommand = []', "command"),
        ('name = "p"\nkind = "exec"\ncommand = "/bin/true -v"', "command"),
        ('name = "p"\nkind = "exec"\ncommand = ["true"]', "command"),
        ('name = "p"\nkind = "exec"\ncommand = ["/bin/true", 1]', "command"),
        ('name = "p"\nkind = "exec"', "command"),
        ('name = "p"\nkind = "exec"\nunit = "fairlead-probe@q.service"', "unit"),
        ('name = "p"\nkind = "exec"\nunit = "ssh.service"', "unit"),
        ('name = "p"\nkind = "exec"\nunit = "fairlead-probe@p.service"\ncommand = ["/bin/a"]', "command"),
        ('kind = "exec"\ncommand = ["/bin/true"]', "name"),
        ('name = "p"\nkind = "systemd"\nunit = "--help"', "unit"),
        ('name = "p"\nkind = "systemd"\nunit = "db"', "unit"),
        ('kind = "push"', "name"),
        ('name = "p"\nkind = "push"\nperiod = 5', "period"),
        ('name = "p"\nkind = "push"\nttl = 0', "ttl"),
        ('name = "p"\nkind = "grpc"\nport = 1\nservice = "' + "x" * 128 + '"', "service"),
        ('port = 1\nheaders = { "A B" = "c" }', "headers"),
        ('port = 1\nheaders = { A = "b\\r\\nC: d" }', "headers"),
        ("port = 1\nheaders = { A = 1 }", "headers"),
        ('port = 1\nheaders = ["A"]', "headers"),
        ('port = 1\nscheme = "ftp"', "scheme"),
        ("port = 1\nstartup = 1", "startup"),
        ("port = 1\nstartup = true\nsuccess_threshold = 2", "success_threshold"),
        ("port = 1\ninitial_delay = -1", "initial_delay"),
    ],
)
def test_one_problem_of_a_probe(keys: str, key: str) -> None:
    assert set(problems(EXAMPLE.read_text() + f"\n[[probe]]\n{keys}\n")) == {f"probe[1].{key}"}


@pytest.mark.parametrize("key", ["initial_delay", "success_threshold", "failure_threshold"])
def test_a_probes_key_in_the_spelling_of_a_pod_is_unknown_and_the_remedy_names_ours(key: str) -> None:
    camel = re.sub(r"_(.)", lambda letter: letter[1].upper(), key)
    found = problems(EXAMPLE.read_text() + f"\n[[probe]]\nport = 1\n{camel} = 1\n")
    assert set(found) == {f"probe[1].{camel}"}
    assert found[f"probe[1].{camel}"].remedy == f"did you mean {key}?"


def test_a_probe_dials_the_workloads_address_unless_told_otherwise() -> None:
    text = EXAMPLE.read_text() + '\n[[probe]]\nport = 8080\nhost = "127.0.0.1"\n'
    first, second = config.parse(text).probes
    assert (first.host, second.host, second.name) == ("192.0.2.10", "127.0.0.1", "http-8080")


@pytest.mark.parametrize("path", ["unix:/run/a.sock", "unix:///run/a.sock", "/run/a.sock"])
def test_forms_of_the_workload_api_path(path: str) -> None:
    assert config.parse(example("/run/spire/agent/public/api.sock", path)).identity.workload_api == "/run/a.sock"


def test_what_is_not_toml_is_one_problem_with_its_place() -> None:
    assert "line 1" in problems("[workload\nx = 1")[""].cause


def test_the_example_is_toml_of_known_tables_only() -> None:
    assert set(tomllib.loads(EXAMPLE.read_text())) == {
        *(f.name for f in dataclasses.fields(config.Config) if f.name != "probes"),
        "probe",
    }


@pytest.mark.parametrize(
    ("written", "value"),
    [("2001:DB8::10", "2001:db8::10"), ("::ffff:192.0.2.10", "192.0.2.10"), ("2001:db8::10%eth0", "2001:db8::10")],
)
def test_cases_addresses_are_values_however_they_are_written(written: str, value: str) -> None:
    found = config.parse(example('addresses = ["192.0.2.10"]', f'addresses = ["{written}"]'))
    assert [str(address) for address in found.host.addresses] == [value]
    host, port = (f"[{written}]", 6443)
    found = config.parse(example("exempt = []", f'exempt = ["{host}:{port}"]'))
    assert [str(one.address) for one in found.redirect.exempt] == [value]


def test_cases_an_ipv4_address_written_twice_is_one() -> None:
    twice = example('["192.0.2.10"]', '["192.0.2.10", "::ffff:192.0.2.10"]')
    assert "lists a value twice" in problems(twice)["host.addresses"].cause
    assert "host.addresses" in problems(example('["192.0.2.10"]', '["::ffff:127.0.0.1"]'))
