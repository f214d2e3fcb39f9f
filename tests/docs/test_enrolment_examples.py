"""The examples of docs/enrolment.md for cloud-init and Ansible: YAML, whose commands are those of fairlead."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from agent.cli import main

PAGE = (Path(__file__).parents[2] / "docs/enrolment.md").read_text()
BLOCKS = [yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)]


def commands(value: Any) -> Iterator[list[str]]:
    """Every list of words that begins with fairlead."""
    if isinstance(value, list) and value[:1] == ["fairlead"]:
        yield [str(word) for word in value]
    elif isinstance(value, dict | list):
        for one in value.values() if isinstance(value, dict) else value:
            yield from commands(one)


def test_each_command_parses() -> None:
    found = [command for block in BLOCKS for command in commands(block)]
    assert [command[1] for command in found] == ["proxy", "join", "enrol", "join"]
    for _, *words in found:
        words = ["0" * 64 if word == "DIGEST" else word for word in words]
        assert main.build_parser(words[:1]).parse_args(words).run


def test_the_bundle_is_where_join_reads_it() -> None:
    cloud, play = (block for block in BLOCKS if any(commands(block)))
    written = {file["path"] for file in cloud["write_files"]}
    copied = {task["ansible.builtin.copy"]["dest"] for task in play[0]["tasks"] if "ansible.builtin.copy" in task}
    read = {command[2] for block in (cloud, play) for command in commands(block) if command[1] == "join"}
    assert written == copied == read
