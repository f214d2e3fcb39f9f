"""`fairlead status` on a real terminal of 80 and of 120 columns, in each state of a host; and without an agent.

A screen that is to change is recorded again by `python -m tests.cli.screens`.
"""

import json
from pathlib import Path

import pytest

from agent.cli import main
from agent.cli.kit import client, outside_view
from agent.cli.kit.exits import Exit, Failure
from agent.cli.kit.formatting import Look
from agent.offline.outside import Seen
from tests.cli import screens

WALL = 1_800_000_000.0


@pytest.mark.parametrize("width", screens.WIDTHS)
@pytest.mark.parametrize("name", screens.states())
async def test_the_screen_of_each_state(tmp_path: Path, name: str, width: int) -> None:
    shown = await screens.screen(tmp_path, name, width)
    assert shown == screens.record(name, width).read_text()
    assert max(map(len, shown.splitlines())) <= width


def test_no_record_is_left_over() -> None:
    known = {screens.record(name, width).name for name in screens.states() for width in screens.WIDTHS}
    assert {path.name for path in screens.FOLDER.iterdir()} == known


async def test_colours_are_for_terminals_that_want_them(tmp_path: Path) -> None:
    async with screens.agent(tmp_path, "ready"):
        _, coloured = await screens.status(tmp_path, 80)
        _, plain = await screens.status(tmp_path, 80, NO_COLOR="1")
    assert "\033[32m✓\033[0m" in coloured and "\033" not in plain


async def test_wide_says_more(tmp_path: Path) -> None:
    async with screens.agent(tmp_path, "draining"):
        code, shown = await screens.status(tmp_path, 120, "-o", "wide")
    text = screens.without_colours(shown)
    assert code == Exit.OK and "versions            agent 1.0, proxy 2.366.0\n" in text
    assert "phase               drained\n" in text and "EndpointSlice       lists this host\n" in text
    assert "goals               proxy " in text


async def test_json_has_its_number(tmp_path: Path) -> None:
    async with screens.agent(tmp_path, "ready"):
        for words in (["--json"], ["-o", "json"]):
            _, shown = await screens.status(tmp_path, 80, *words)
            assert json.loads(shown)["schema"] == 1


async def test_without_an_agent_it_says_so_first_and_shows_what_can_be_seen(tmp_path: Path) -> None:
    code, shown = await screens.status(tmp_path, 120)
    first, _, *rest = shown.splitlines()
    assert code == Exit.UNAVAILABLE and first.startswith("fairlead: cannot read the status: no agent is running")
    text = "\n".join(rest)
    assert f"[{tmp_path}/var/lib/fairlead/phase]" in " ".join(text.split())
    assert all(word in text for word in ("member", "[127.0.0.1:4191/ready]", "[/proc/net/tcp]", "redirect"))


def refused(*_: object, **__: object) -> None:
    raise Failure(Exit.NOT_PERMITTED, "cannot read the status: permission denied", "run it with sudo")


SEEN = [
    Seen("phase", "member", "/var/lib/fairlead/phase"),
    Seen("fairlead.service", "failed (failed)", "systemd", WALL - 600),
    Seen("fairlead-redirect.service", "active (exited)", "systemd", WALL - 7300),
    Seen("proxy", "ready", "127.0.0.1:4191/ready"),
    Seen(
        "journal",
        "2027-01-15T08:00:00+0000 vm fairlead[7]: cannot start the agent: " + ("x " * 30).strip(),
        "journalctl",
    ),
]
OUTSIDE = """\
seen from outside, without the agent:
  phase                     member  [/var/lib/fairlead/phase]
  fairlead.service          failed (failed), for 10 min  [systemd]
  fairlead-redirect.service active (exited), for 2 h  [systemd]
  proxy                     ready  [127.0.0.1:4191/ready]
  journal                   2027-01-15T08:00:00+0000 vm fairlead[7]: cannot
                            start the agent: x x x x x x x x x x x x x x x x x x
                            x x x x x x x x x x x x  [journalctl]"""


def test_what_is_seen_from_outside_has_ages_and_sources() -> None:
    assert "\n".join(outside_view.render(SEEN, Look(80, now=WALL))) == OUTSIDE


def test_whoever_may_not_ask_is_told_the_way_in(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(client.Client, "status", refused)
    monkeypatch.setattr("getpass.getuser", lambda: "alice")
    assert main.main(["status", "--prefix", str(tmp_path)]) == Exit.NOT_PERMITTED
    said = capsys.readouterr()
    assert "usermod -aG fairlead alice" in said.err and "127.0.0.1:4191/ready" in said.out
    assert main.main(["status", "--json", "--prefix", str(tmp_path)]) == Exit.NOT_PERMITTED
    found = json.loads(capsys.readouterr().out)
    assert found["schema"] == 1 and "usermod" in found["remedy"]
    assert {"phase", "proxy", "listeners", "redirect"} <= {one["what"] for one in found["seen"]}


@pytest.mark.parametrize(
    ("euid", "text"), [(0, "no rules of fairlead; their level is not known: "), (1000, "not read: needs root")]
)
def test_the_live_rules_are_roots(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, euid: int, text: str, root: None
) -> None:
    from agent.offline import outside

    monkeypatch.setattr("os.geteuid", lambda: euid)
    (found,) = [one for one in outside.look(str(tmp_path)) if one.what == "redirect"]
    assert found.text.startswith(text)
