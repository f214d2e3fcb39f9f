"""`--help` of every verb shows examples, and each of them parses."""

import re
import shlex
from importlib import import_module

import pytest

from agent.cli import main

_EXAMPLE = re.compile(r"^  (?:[\w -]+ \| )?(?:sudo (?:-u [\w-]+ )?)?(fairlead .*)$", re.MULTILINE)


def examples(verb: str) -> list[str]:
    """As they are typed: without what is said about them, and without what the shell takes."""
    text = import_module(f"agent.cli.{main.VERBS[verb][0]}").DESCRIPTION.replace("\\\n", "")
    text = text.replace("DIGEST", "0" * 64)
    typed = (re.split(r" [|<>] ", found)[0] for found in _EXAMPLE.findall(text))
    return [re.split(r"(?<=\S) {2,}(?!-)", one)[0] for one in typed]


def words(verb: str) -> list[str]:
    """The first example, as arguments."""
    return shlex.split(examples(verb)[0])[1:]


@pytest.mark.parametrize("verb", main.VERBS)
def test_each_verb_has_examples_that_parse(verb: str) -> None:
    found = examples(verb)
    assert found, f"fairlead {verb} --help has no example"
    for one in found:
        typed = shlex.split(re.sub(r"\[(\S+)\]", r"\1", one))[1:]
        assert typed[0] == verb and main.build_parser([verb]).parse_args(typed).run, one


@pytest.mark.parametrize("verb", main.VERBS)
def test_help_shows_them_and_the_exit_codes(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main.main([verb, "--help"])
    said = capsys.readouterr().out
    assert ended.value.code == 0 and "\n  " in said and f"fairlead {verb}" in said and "70 bug" in said
    assert max(map(len, said.splitlines())) <= 120
