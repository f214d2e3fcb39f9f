"""The commands of every document: what a reader pastes into a shell."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
# What is shown and not typed. Every other block is for a shell.
SHOWN = {"toml", "ini", "hcl", "python", "mermaid", "output", "text", "yaml", "json", "promql"}
_BLOCK = re.compile(r"^(?P<indent> *)```(?P<kind>\w*)\n(?P<body>.*?)^ *```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Command:
    page: str
    text: str


def commands(page: Path) -> Iterator[Command]:
    for block in _BLOCK.finditer(page.read_text()):
        if block["kind"] not in SHOWN:
            assert not block["kind"], f"{page.name} has a block of kind {block['kind']}"
            lines = [line.removeprefix(block["indent"]) for line in block["body"].splitlines()]
            yield from (Command(str(page.relative_to(ROOT)), text) for text in _whole(lines))


def _whole(lines: list[str]) -> Iterator[str]:
    """Each command with the lines that belong to it: continued ones, and loops to their end."""
    held: list[str] = []
    for line in lines:
        held.append(line)
        text = "\n".join(held)
        if text.strip() and not line.endswith("\\") and not (text.startswith("for ") and line != "done"):
            yield text
            held = []
    assert not "".join(held).strip(), held


def every() -> list[Command]:
    return [command for page in PAGES for command in commands(page)]
