"""Each command of the documents is either run on a booted machine (tests/system/test_documents.py) or excepted."""

import re
import shlex

import pytest

from agent.cli import main
from tests.lab import document_commands
from tests.lab.document_commands import ROOT
from tests.system.documented_commands import ELSEWHERE, RUN, SELF_TESTED, reason

EVERY = [command for command in document_commands.every() if command.page not in SELF_TESTED]
OURS = [command for command in document_commands.every() if command.text.startswith("fairlead ")]
# In running text: `fairlead VERB …`.
MENTIONED = sorted(
    {
        found
        for path in (*document_commands.PAGES, *ROOT.glob("agent/cli/*.py"), *ROOT.glob("config/**/*.toml"))
        for found in re.findall(r"`fairlead ([a-z][^`\n]*)`", path.read_text())
    }
)


@pytest.mark.parametrize("command", EVERY, ids=lambda command: f"{command.page}: {command.text.splitlines()[0]}")
def test_each_command_is_run_or_excepted(command: document_commands.Command) -> None:
    runs = command.text in RUN.get(command.page, {})
    assert runs != bool(reason(command)), (
        f"{command}: run it in tests/system/documented_commands.py, or say why not"
    )


def test_nothing_is_listed_that_no_document_shows() -> None:
    shown = {(command.page, command.text) for command in EVERY}
    listed = {(page, text) for page, texts in RUN.items() for text in texts}
    assert listed <= shown
    assert all(any(reason(command) == why for command in EVERY) for why in ELSEWHERE.values())


@pytest.mark.parametrize("words", [words for words, why in ELSEWHERE.items() if "tests/" in why])
def test_another_test_runs_what_it_is_said_to_run(words: str) -> None:
    path = re.search(r"tests/\S+\.py", ELSEWHERE[words])
    verb = ", ".join(f'"{word}"' for word in words.partition("fairlead ")[2].split())
    assert path and verb in (ROOT / path[0]).read_text(), words


@pytest.mark.parametrize("command", OURS, ids=lambda command: command.text)
def test_each_command_of_fairlead_parses_as_shown(command: document_commands.Command) -> None:
    words = shlex.split(command.text.partition(" | ")[0], comments=True)[1:]
    assert main.build_parser(words[:1]).parse_args(words).run


@pytest.mark.parametrize("text", MENTIONED)
def test_each_command_that_is_mentioned_parses(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Or lacks only its arguments, where the verb alone is named."""
    words = shlex.split(re.sub(r"\[(\w+)\]", r"\1", text))
    try:
        main.build_parser(words[:1]).parse_args(words)
    except SystemExit as ended:
        assert ended.code == 0 or "arguments are required" in capsys.readouterr().err, text
