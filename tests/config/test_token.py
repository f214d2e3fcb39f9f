"""The configuration of token mode: its name follows from the account, and keys of the other mode are problems."""

import re
from pathlib import Path

import pytest

from agent import config
from agent.config import checks, derived
from agent.config.reader import Bad
from agent.host import credential
from agent.privileged.redirect import specification
from tests.lab.identity_tokens import NAME, SUBJECT

EXAMPLE = (Path(__file__).parents[2] / "config/fairlead.toml").read_text()
GONE = ("identity = .spiffe.*", "server_name = .*", "workload_api = .*", "audience = .*")


def text() -> str:
    """The example in token mode."""
    found = EXAMPLE
    for line in GONE:
        found, count = re.subn(rf"^{line}\n", "", found, flags=re.MULTILINE)
        assert count == 1, line
    for old, new in (
        ('mode = "spiffe"', 'mode = "token"\nservice_account = "db-1"'),
        ('auth = "spiffe"', 'auth = "token-file"\ntoken_file = "/etc/fairlead/token"'),
    ):
        assert found.count(old) >= 1, old
        found = re.sub(rf"^{re.escape(old)}", new, found, count=1, flags=re.MULTILINE)
    return found


def problems(toml: str) -> dict[str, config.Problem]:
    with pytest.raises(config.ConfigError) as caught:
        config.parse(toml)
    return {problem.key: problem for problem in caught.value.problems}


def test_the_account_is_the_name() -> None:
    found = config.parse(text())
    assert (found.workload.identity, found.workload.server_name) == (NAME, NAME)
    spec = derived.policy_spec(found, Path("/nowhere"), "boot")
    assert spec.outbound_only and spec.identity == spec.server_name == NAME
    assert not derived.policy_spec(config.parse(EXAMPLE), Path("/nowhere"), "boot").outbound_only
    assert derived.token_subject(found) == SUBJECT


def test_the_trust_domain_and_linkerds_namespace_are_part_of_it() -> None:
    more = 'namespace = "mesh"\ntrust_domain = "corp.example."'
    found = config.parse(text().replace('namespace = "linkerd"', more))
    assert found.workload.identity == "db-1.shop.serviceaccount.identity.mesh.corp.example"


def test_the_proxy_gets_folders_of_this_host_and_no_workload_api() -> None:
    settings = derived.proxy_settings(config.parse(text()), "/srv")
    assert settings.token_file == "/srv/run/fairlead-token/token"
    assert settings.identity_folder == "/srv/run/fairlead-proxy/identity"
    assert not settings.workload_api
    other = derived.proxy_settings(config.parse(EXAMPLE), "/srv")
    assert (other.token_file, other.identity_folder) == ("", "")


def test_every_problem_of_the_modes_at_once() -> None:
    half = EXAMPLE.replace('\nmode = "spiffe"', '\nmode = "token"\nhint = "x"')
    assert set(problems(half)) == {
        "workload.identity",
        "workload.server_name",
        "identity.workload_api",
        "identity.hint",
        "identity.service_account",
    }
    other = EXAMPLE.replace('\nmode = "spiffe"', '\nservice_account = "db-1"\ntoken_file = "/t"')
    assert set(problems(other)) == {"identity.service_account", "identity.token_file"}
    controller = EXAMPLE.replace("\n[redirect]", '\nidentity = "10.0.0.1:8080"\n\n[redirect]', 1)
    assert set(problems(controller)) == {"control_plane.identity"}


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ('\nservice_account = "db-1"', '\nservice_account = "db.1"', "identity.service_account"),
        ('\nservice_account = "db-1"', '\nservice_account = "db-1"\ntoken_file = "t"', "identity.token_file"),
        ('anchors_source = "file"', 'anchors_source = "workload-api"', "identity.anchors_source"),
        ('token_file = "/etc/fairlead/token"', 'audience = "x"', "api.auth"),
        ('\ncluster_domain = "cluster.local"', f'\ncluster_domain = "{".".join(["d" * 60] * 4)}"', "long"),
    ],
)
def test_what_needs_the_workload_api_or_makes_no_name(old: str, new: str, key: str) -> None:
    found = text()
    assert old in found
    found = found.replace(old, new)
    if key == "api.auth":
        found = found.replace('\nauth = "token-file"', '\nauth = "spiffe"')
    assert set(problems(found)) == {"identity.service_account" if key == "long" else key}


def test_a_named_controller_may_be_an_address_of_this_host() -> None:
    """The guard lets the proxy reach the control plane there, as it does for the other controllers."""
    more = '\nidentity = "192.0.2.10:8443"\n\n[redirect]'
    found = config.parse(text().replace("\n[redirect]", more, 1))
    assert set(specification.control_ports(found.control_plane)) == {8086, 8090, 8443}


def test_a_credential_of_the_unit_is_named_by_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "$CREDENTIALS_DIRECTORY/fairlead.api"
    assert checks.credential(name) == name
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    assert credential(name) == "/etc/credstore/fairlead.api", "where root alone looks"
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/run/credentials/fairlead.service")
    assert credential(name) == "/run/credentials/fairlead.service/fairlead.api"
    assert credential("/etc/fairlead/token") == checks.credential("/etc/fairlead/token") == "/etc/fairlead/token"
    for wrong in ("$CREDENTIALS_DIRECTORY/../x", "$HOME/token", "token"):
        with pytest.raises(Bad):
            checks.credential(wrong)
