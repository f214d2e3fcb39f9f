"""A page of docs/ as steps: commands, what they need, and their output."""

import re
from dataclasses import dataclass
from pathlib import Path

_PART = re.compile(
    r"^## (?P<section>[^\n]+)$|"
    r"(?:^<!-- (?P<key>needs|exit): (?P<value>[\w-]+) -->\n)?^```(?P<kind>\w*)\n(?P<body>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Step:
    """One command. `needs`: what a machine without a cluster lacks; `output`: what it prints; `section`: the
    heading above it."""

    command: str
    needs: str = ""
    code: int = 0
    output: str = ""
    section: str = ""


def steps(page: Path) -> list[Step]:
    parsed: list[Step] = []
    section = ""
    for part in _PART.finditer(page.read_text()):
        if part["section"]:
            section = part["section"].rstrip()
            continue
        if part["kind"] == "output":
            last = parsed.pop()
            parsed.append(Step(last.command, last.needs, last.code, part["body"], section))
            continue
        assert not part["kind"], f"{page.name} has a block of kind {part['kind']}"
        needs = part["value"] if part["key"] == "needs" else ""
        code = int(part["value"]) if part["key"] == "exit" else 0
        parsed += [Step(line, needs, code, section=section) for line in part["body"].splitlines()]
    return parsed
