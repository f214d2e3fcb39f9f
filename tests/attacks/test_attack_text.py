"""Attackers: an API server, a server that a probe asks, a peer's certificate, a local user. They choose text that
an operator reads. It must not control the terminal, hide a line, or fill a screen."""

import sys

import pytest

from agent.cli import main
from agent.cli.kit import output
from agent.core import text
from agent.core.reasons import Fault, Reason
from agent.daemon import logs

HOSTILE = {
    "clears the screen": "\033[2J\033[H",
    "erases the line": "ok\r\033[2Kfine",
    "sets the title": "\033]0;owned\a",
    "C1 introducer": "\x9b2J",
    "backspaces": "denied\b\b\b\b\b\bgranted",
    "reverses": "\u202etxt.exe\u2066",
    "hides a letter": "admin\u200b\u00ad\ufeff",
    "separates lines": "one\u2028two\u0085three",
    "half a character": "\ud800",
    "bytes that are not UTF-8": b"\xff\xfe".decode(errors="surrogateescape"),
}


@pytest.mark.parametrize("hostile", HOSTILE.values(), ids=HOSTILE)
def test_attack_a_detail_and_a_remedy_are_made_of_visible_characters(hostile: str) -> None:
    fault = Fault(Reason.API_REFUSED, f"before {hostile} after", f"do {hostile}")
    assert fault.detail.isprintable() and fault.remedy.isprintable()
    assert fault.detail.startswith("before ") and fault.detail.endswith(" after"), "nothing is lost"
    fault.detail.encode()


def test_attack_a_detail_stays_on_one_line_and_short() -> None:
    assert Fault(Reason.API_REFUSED, "a\nProxyReady ✓\n\tb").detail == "a ProxyReady ✓ b"
    assert len(Fault(Reason.API_REFUSED, "x" * 1_000_000).detail) == text.MOST


@pytest.mark.parametrize("hostile", HOSTILE.values(), ids=HOSTILE)
def test_attack_what_is_printed_is_visible(hostile: str, capsys: pytest.CaptureFixture[str]) -> None:
    with output.visible():
        print(f"a {hostile} b\n\033[31m✗\033[0m")
        print(f"a {hostile} b", file=sys.stderr)
    out, err = capsys.readouterr()
    first, second = out.splitlines()
    assert second == "\033[31m✗\033[0m", "fairlead's own colours"
    assert all(each.isprintable() for each in (first, err.rstrip("\n")))


def test_attack_an_argument_comes_back_visible_in_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main.main(["redirect", "trace", "--in", "tcp", "\033]0;owned\a", "--json"])
    assert "\033" not in capsys.readouterr().err


def test_attack_a_log_entry_is_visible() -> None:
    event = {"event": "it says \033[2J\u202e", "level": "warning", "timestamp": "now", "detail": "\033[2J"}
    ((fields,), _) = logs.journal_fields(None, "", dict(event))
    assert fields["MESSAGE"].isprintable()
    assert logs.text(None, "", dict(event)).isprintable()


@pytest.mark.parametrize("short", ["0" * 12, "0" * 63, "0" * 65, "0" * 63 + "G", ""])
def test_attack_trust_anchors_are_accepted_by_their_whole_digest(short: str) -> None:
    """Twelve digits can be found for other anchors by trial."""
    with pytest.raises(SystemExit) as ended:
        main.main(["anchors", "accept", short])
    assert ended.value.code == 2
