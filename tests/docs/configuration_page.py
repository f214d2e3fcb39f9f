"""docs/configuration.md: each key of the schema, as config/fairlead.toml describes it, and what an edit takes."""

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_type_hints

from agent.config import Config, changes
from agent.core.probe import ProbeSpec

ROOT = Path(__file__).parents[2]
_TABLE = re.compile(r"^(?:# )?\[+([a-z_]+)\]+")
_KEY = re.compile(r"^(?:# ?)?([a-z_]+) = ")

_HEAD = """\
# Configuration

Generated from `config/fairlead.toml` and the schema. The file is `/etc/fairlead/fairlead.toml`, owned by root.
`fairlead check-config` names every problem at once. Times are in seconds, without a unit. [reload.md](reload.md)
says more about edits.
"""


def page() -> str:
    lines = [_HEAD]
    for table, blocks in tables().items():
        lines += [f"## {'[[probe]]' if table == 'probe' else f'[{table}]'}", ""]
        for text, names in blocks:
            keys = ", ".join(f"`{name}`" for name in names)
            lines.append(f"- {keys}: {' '.join(text)}{_takes(table, names)}")
        lines.append("")
    return "\n".join(lines[:-1]) + "\n"


def _takes(table: str, names: list[str]) -> str:
    takes = changes.takes(f"{table}.{names[0]}")
    return f" *An edit takes: {'; '.join(one.value for one in changes.Takes if one in takes)}.*"


def tables() -> dict[str, list[tuple[list[str], list[str]]]]:
    """Table → its comments, each with the keys below it."""
    found: dict[str, list[tuple[list[str], list[str]]]] = {}
    known = set(keys())
    table, text = "", list[str]()
    for line in (ROOT / "config/fairlead.toml").read_text().splitlines():
        if named := _TABLE.match(line):
            table, text = named[1], []
            found.setdefault(table, [])
        elif (key := _KEY.match(line)) and f"{table}.{key[1]}" in known:
            _add(found[table], text, key[1])
            text = []
        elif line.startswith("#") and table:
            text.append(line.removeprefix("#").strip())
        elif not line.strip():
            text = []
    return found


def _add(blocks: list[tuple[list[str], list[str]]], text: list[str], key: str) -> None:
    """A key without a comment of its own belongs to the one before it."""
    if text or not blocks:
        blocks.append((text, [key]))
    else:
        blocks[-1][1].append(key)


def keys() -> Iterator[str]:
    """Of the schema."""
    for name, table in get_type_hints(Config).items():
        if name != "probes":
            yield from (f"{name}.{one.name}" for one in dataclasses.fields(table))
    yield from (f"probe.{one.name}" for one in dataclasses.fields(ProbeSpec))
