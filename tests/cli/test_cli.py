"""The command line: what it teaches, how it says errors, its exit codes."""

import dataclasses
import io
import json
import tomllib
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from agent.cli import main, probe, status
from agent.core import facts as f
from agent.core import policy, snapshot
from agent.core.reasons import Fault, Reason
from tests.core import world
from tests.core.test_policy import serving
from tests.core.world import NOW, SPEC, phase

EXAMPLE = Path(__file__).parents[2] / "config/fairlead.toml"


def run(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    try:
        code = main.main(argv)
    except SystemExit as end:
        code = int(end.code or 0)
    said = capsys.readouterr()
    return code, said.out, said.err


def test_help_names_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "--help")
    assert code == 0
    assert all(f"    {verb}" in out for verb in main.VERBS)
    assert "exit codes" in out


@pytest.mark.parametrize("verb", main.VERBS)
def test_each_verb_teaches(capsys: pytest.CaptureFixture[str], verb: str) -> None:
    code, out, _ = run(capsys, verb, "--help")
    assert code == 0 and len(out.splitlines()) > 6 and "exit codes" in out


@pytest.mark.parametrize(
    "argv", [("nonsense",), ("status", "--nonsense"), ("probe",), ("probe", "push"), ("check-config", "a", "b")]
)
def test_wrong_usage(capsys: pytest.CaptureFixture[str], argv: tuple[str, ...]) -> None:
    code, _, err = run(capsys, *argv)
    assert code == 2 and "usage: fairlead" in err


def test_bare_prints_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys) == run(capsys, "--help")


@pytest.mark.parametrize(
    ("argv", "suggested"),
    [
        (("statsu",), "status"),
        (("chek-config",), "check-config"),
        (("undrian", "--json"), "undrain"),
        (("redirect", "aply"), "apply"),
        (("proxy", "upgade", "2.366.0"), "upgrade"),
    ],
)
def test_a_mistyped_verb_is_suggested(
    capsys: pytest.CaptureFixture[str], argv: tuple[str, ...], suggested: str
) -> None:
    code, _, err = run(capsys, *argv)
    assert code == 2 and f"did you mean {suggested}?" in err


def test_check_config_takes_the_default_file_below_prefix(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "etc/fairlead/fairlead.toml"
    file.parent.mkdir(parents=True)
    file.write_bytes(EXAMPLE.read_bytes())
    code, out, _ = run(capsys, "check-config", "--prefix", str(tmp_path))
    assert code == 0 and out.startswith(f"{file}: good\n")


def test_check_config_reads_standard_input(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"[host]\nadress = 1\n")))
    code, _, err = run(capsys, "check-config", "-")
    assert code == 64
    assert "fairlead: standard input: host.adress: " in err and "cannot use standard input: " in err


def test_check_config_as_json(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, out, err = run(capsys, "check-config", "--json", str(EXAMPLE))
    said = json.loads(out)
    assert (code, err, said["good"], said["problems"], len(said["while_not_ready"])) == (0, "", True, [], 2)
    file = tmp_path / "f.toml"
    file.write_text(EXAMPLE.read_text().replace("[5432]", "[0]"))
    code, out, err = run(capsys, "check-config", "--json", str(file))
    said = json.loads(out)
    assert (code, err, said["file"], said["good"]) == (64, "", str(file), False)
    assert [sorted(problem) for problem in said["problems"]] == [["cause", "key", "remedy"]]
    assert said["problems"][0]["key"].startswith("workload.ports")


def test_check_config_good(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "check-config", str(EXAMPLE))
    assert (code, err) == (0, "")
    assert out == (
        f"{EXAMPLE}: good\n"
        "  while the proxy is not ready, new connections to port 5432 are made without it until this host has been"
        " Ready once, and reset for everybody from then on\n"
        "  while the proxy is not ready, new connections from this host into the mesh are made without it\n"
    )


def test_check_config_warns_of_a_policy_that_refuses_every_foreign_identity(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "f.toml"
    file.write_text(EXAMPLE.read_text().replace('"all-unauthenticated"\n', '"all-authenticated"\n'))
    code, out, err = run(capsys, "check-config", str(file))
    assert code == 0 and out.startswith(f"{file}: good\n")
    assert f"{file}: warning: proxy.default_inbound_policy: " in err


def test_check_config_names_file_key_cause_and_way_out(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "f.toml"
    file.write_text(EXAMPLE.read_text().replace("cores = 1", "cors = 1").replace("[5432]", "[22]"))
    code, _, err = run(capsys, "check-config", str(file))
    assert code == 64
    assert f"{file}: proxy.cors: is not a known key\n  did you mean cores?" in err
    assert f"{file}: workload.ports: 22 is SSH's port and is never redirected\n  remove it" in err
    assert "2 problems" in err


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_check_config_without_a_readable_file(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, content: bytes | None
) -> None:
    file = tmp_path / "f.toml"
    if content is not None:
        file.write_bytes(content)
    code, _, err = run(capsys, "check-config", str(file))
    assert code == 64 and err.startswith(f"fairlead: cannot read {file}: ")


def test_check_config_of_a_file_that_this_user_may_not_read(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "read_bytes", mock.Mock(side_effect=PermissionError(13, "Permission denied")))
    code, _, err = run(capsys, "check-config", str(tmp_path / "f.toml"))
    assert code == 77 and "Permission denied" in err and "sudo" in err


@pytest.mark.parametrize("verb", [["plan"], ["redirect", "show"], ["anchors", "show"], ["identity-gate"]])
def test_a_configuration_that_is_no_good_is_named_in_short_with_the_way_to_see_it_all(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, verb: list[str], root: None
) -> None:
    file = tmp_path / "etc/fairlead/fairlead.toml"
    file.parent.mkdir(parents=True)
    file.write_text("[proxy]\ncores = 0\n")
    code, _, err = run(capsys, *verb, "--prefix", str(tmp_path))
    cause, remedy = err.splitlines()
    assert code == 64 and len(cause) < 250 and " more" in cause
    assert f"fairlead check-config {file}" in remedy


@pytest.mark.parametrize(
    "words",
    [
        "redirect apply",
        "redirect confirm",
        "redirect revert",
        "redirect remove",
        "redirect adopt-guide",
        "proxy logs",
    ],
)
def test_who_is_not_root_is_told_so(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    """Not that the privileged helper does not open."""
    monkeypatch.setattr("os.geteuid", lambda: 65534)
    code, _, err = run(capsys, *words.split(), "--prefix", str(tmp_path))
    assert code == 77 and err.endswith(": not root\n  run it with sudo\n")


def test_the_prefix_of_proxy_stands_before_or_after_its_verb(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder = tmp_path / "var/lib/fairlead/proxy/2.366.0"
    folder.mkdir(parents=True)
    (folder / "linkerd2-proxy").touch()
    prefix = ("--prefix", str(tmp_path))
    before, after = run(capsys, "proxy", *prefix, "list"), run(capsys, "proxy", "list", *prefix)
    assert before == after and "2.366.0" in before[1]


@pytest.mark.parametrize("verb", ["status", "leave", "join"])
def test_without_an_agent(capsys: pytest.CaptureFixture[str], tmp_path: Path, verb: str) -> None:
    code, _, err = run(capsys, verb, "--prefix", str(tmp_path))
    assert code == 69 and "no agent is running" in err and "examples/fairlead.toml" in err, (
        "it was never configured"
    )
    (tmp_path / "etc/fairlead").mkdir(parents=True)
    (tmp_path / "etc/fairlead/fairlead.toml").touch()
    code, _, err = run(capsys, verb, "--prefix", str(tmp_path))
    assert code == 69 and "no agent is running" in err and "systemctl status fairlead" in err


def test_probe_push_without_an_agent(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, _, err = run(capsys, "probe", "push", "db", "--ttl", "30s", "--prefix", str(tmp_path))
    assert code == 69 and "cannot push probe db: no agent is running" in err


@pytest.mark.parametrize(
    ("text", "seconds"), [("30", 30.0), ("30s", 30.0), ("1.5m", 90.0), ("2h", 7200.0), ("250ms", 0.25)]
)
def test_times(text: str, seconds: float) -> None:
    assert probe.duration(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "-3s", "3 s", "3d", "inf"])
def test_what_is_no_time(capsys: pytest.CaptureFixture[str], text: str) -> None:
    code, _, err = run(capsys, "probe", "push", "db", f"--ttl={text}")
    assert code == 2 and "write 30s" in err


def test_run_without_a_configuration(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, _, err = run(capsys, "run", "--prefix", str(tmp_path))
    assert code == 64 and "write it after the example" in err and "examples/fairlead.toml" in err


def test_run_without_the_proxys_user(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "etc/fairlead/fairlead.toml"
    file.parent.mkdir(parents=True)
    file.write_text(EXAMPLE.read_text().replace('user = "fairlead-proxy"', 'user = "no-such-user"'))
    code, _, err = run(capsys, "run", "--prefix", str(tmp_path))
    assert code == 69 and "no user 'no-such-user'" in err and "useradd" in err


def shown(facts: f.Facts) -> str:
    goals = policy.decide(SPEC, phase("member"), facts, NOW).goals
    shot: dict[str, Any] = snapshot.snapshot(SPEC, phase("member"), facts, goals, NOW)
    credential = {"kind": "spiffe", "audience": "kubernetes", "subject": "spiffe://a/b", "expires_at": 120.4}
    return "\n".join(status.render({"workload": "shop/db-1", **shot, "credential": credential}))


def test_the_table_of_a_host_that_serves() -> None:
    text = shown(serving())
    assert text.startswith("shop/db-1  Ready: identity, proxy, redirect and probes are as intended")
    assert "Ready=True (Because)" in text and text.count("✓") == 8 and "→" not in text


def test_the_table_counts_in_plain_words() -> None:
    proxy = world.proxy("ready", flying=1)
    assert isinstance(proxy, f.ProxyFact)
    text = shown(serving(proxy=dataclasses.replace(proxy, restarts=2)))
    assert "1 connection in flight, 2 restarts" in text and "0 status writes by this agent" in text


def test_the_table_says_where_the_token_for_the_api_comes_from() -> None:
    assert "API credential      spiffe, audience kubernetes, 2 min left" in shown(serving())


def test_the_table_names_each_problem_and_its_way_out() -> None:
    lease = f.LeaseFact(fault=Fault(Reason.LEASE_MISSING, "no lease db-1"))
    text = shown(serving(proxy=world.proxy("stopped"), lease=lease))
    assert "✗ ProxyReady          ProxyStopped" in text
    assert "(no lease db-1)\n    → create a Lease" in text


def test_the_table_of_a_host_that_knows_nothing() -> None:
    text = shown(f.Facts())
    assert text.count("…") == 8 and "nothing yet" in text


def test_a_silent_source_is_said_so() -> None:
    assert "from the proxy's certificate" in shown(serving(identity=world.identity("silent")))


def test_status_shows_identity_its_end_its_next_rotation_and_the_anchors() -> None:
    svid = f.IdentityFact(world.SVID, NOW + 3000, received_at=NOW, rotates_at=NOW + 1200)
    anchored = f.AnchorsFact("0123456789abcdef", expires_at=NOW + 86400 * 100)
    line = f"{world.ID}, 50 min left, next rotation in 20 min, anchors 0123456789ab for 100 days"
    assert line in shown(serving(identity=svid, anchors=anchored))


def test_kubectl_finds_it_as_a_plugin() -> None:
    """By the name of the program, which packaging tools make of this table."""
    scripts = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts["kubectl-fairlead"] == scripts["fairlead"] == "agent.cli.main:main"
