"""`fairlead anchors`, and the privileged helper behind it."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from agent.core import anchors
from agent.sandbox.identity.ca import Authority
from tests.cli.test_cli import run
from tests.privileged.hosts import CONFIG

OLD, NEW = Authority("example.org"), Authority("example.org")
BOTH = anchors.pem([OLD.der, NEW.der])
DIGEST = anchors.digest([OLD.der, NEW.der])


@pytest.fixture
def prefix(root: None, tmp_path: Path) -> Path:
    """A host whose agent has found new anchors in the cluster."""
    (tmp_path / "etc/fairlead").mkdir(parents=True)
    (tmp_path / "var/lib/fairlead/agent").mkdir(parents=True)
    (tmp_path / "anchors.pem").write_text(OLD.pem)
    (tmp_path / "var/lib/fairlead/agent/trust-anchors.pem").write_text(BOTH)
    _configure(tmp_path, 'anchors_source = "cluster"')
    return tmp_path


def _configure(prefix: Path, more: str) -> None:
    text = CONFIG.replace("/etc/anchors.pem", str(prefix / "anchors.pem"))
    text = text.replace("[api]", f"{more}\n[api]")
    (prefix / "etc/fairlead/fairlead.toml").write_text(text)


def shown(capsys: pytest.CaptureFixture[str], prefix: Path) -> dict[str, Any]:
    code, out, _ = run(capsys, "anchors", "show", "--prefix", str(prefix), "--json")
    assert code == 0
    found: dict[str, Any] = json.loads(out)
    return found


def test_identity_anchors_in_force_and_proposed_are_shown(
    capsys: pytest.CaptureFixture[str], prefix: Path
) -> None:
    found = shown(capsys, prefix)
    assert (found["in_force"]["digest"], found["proposed"]["digest"]) == (anchors.digest([OLD.der]), DIGEST)
    code, out, _ = run(capsys, "anchors", "show", "--prefix", str(prefix))
    assert code == 0 and f"  → fairlead anchors accept {DIGEST}" in out
    assert "CN=root of example.org, until 2" in out


def test_identity_anchors_are_accepted_by_digest_and_only_once(
    capsys: pytest.CaptureFixture[str], prefix: Path
) -> None:
    accept = ("anchors", "accept", "--prefix", str(prefix), DIGEST)
    assert run(capsys, *accept, "--dry-run") == (0, f"{DIGEST[:12]}: would be accepted\n", "")
    assert shown(capsys, prefix)["proposed"] is not None
    code, out, _ = run(capsys, *accept)
    assert (code, out) == (0, f"{DIGEST[:12]}: accepted; the proxy reads them at its next start\n")
    found = shown(capsys, prefix)
    assert (found["in_force"]["digest"], found["proposed"]) == (DIGEST, None)
    accepted = prefix / "var/lib/fairlead/trust-anchors.pem"
    assert (accepted.stat().st_uid, accepted.stat().st_mode & 0o777) == (0, 0o644)
    assert run(capsys, *accept) == (0, f"{DIGEST[:12]}: already in force\n", "")


def test_identity_anchors_that_were_not_shown_are_not_accepted(
    capsys: pytest.CaptureFixture[str], prefix: Path
) -> None:
    code, _, err = run(capsys, "anchors", "accept", "--prefix", str(prefix), "0" * 64)
    assert code == 1 and "it is not the proposal" in err
    assert run(capsys, "anchors", "accept", "--prefix", str(prefix), "all")[0] == 2


def test_identity_anchors_of_a_configured_file_have_no_proposal(
    capsys: pytest.CaptureFixture[str], prefix: Path
) -> None:
    _configure(prefix, 'anchors_source = "file"')
    assert shown(capsys, prefix)["proposed"] is None


def test_identity_anchors_that_are_followed_are_in_force(capsys: pytest.CaptureFixture[str], prefix: Path) -> None:
    """As soon as root has stored them, at the agent's request."""
    from agent.offline import helper

    _configure(prefix, 'anchors_source = "cluster"\nanchors_follow = true')
    assert shown(capsys, prefix)["proposed"]["digest"] == DIGEST
    helper.ask(str(prefix), "anchors follow", digest=DIGEST)
    found = shown(capsys, prefix)
    assert (found["in_force"]["digest"], found["proposed"]) == (DIGEST, None)


@pytest.mark.parametrize("swap", ["other", "link", "pipe", "garbage", "gone"])
def test_identity_anchors_that_change_between_look_and_word_are_refused_by_the_helper(
    prefix: Path, swap: str
) -> None:
    from agent.offline import helper

    path = prefix / "var/lib/fairlead/agent/trust-anchors.pem"
    path.unlink()
    match swap:
        case "other":
            path.write_text(NEW.pem)
        case "link":
            (prefix / "both.pem").write_text(BOTH)
            path.symlink_to(prefix / "both.pem")
        case "pipe":
            os.mkfifo(path)
        case "garbage":
            path.write_text("-----BEGIN CERTIFICATE-----\nbm8=\n-----END CERTIFICATE-----\n")
    with pytest.raises(helper.Refused, match="cannot"):
        helper.ask(str(prefix), "anchors accept", digest=DIGEST)
    assert not (prefix / "var/lib/fairlead/trust-anchors.pem").exists()
