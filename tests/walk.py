"""A page of docs/ as steps: what it has typed, what that needs, and what it should say."""

import re
from dataclasses import dataclass
from pathlib import Path

_BLOCK = re.compile(
    r"(?:^<!-- (?P<key>needs|exit): (?P<value>[\w-]+) -->\n)?^```(?P<kind>\w*)\n(?P<body>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Step:
    """One command. `needs`: what a machine without a cluster lacks; `output`: what it says."""

    command: str
    needs: str = ""
    code: int = 0
    output: str = ""


def steps(page: Path) -> list[Step]:
    found: list[Step] = []
    for block in _BLOCK.finditer(page.read_text()):
        if block["kind"] == "output":
            last = found.pop()
            found.append(Step(last.command, last.needs, last.code, block["body"]))
            continue
        assert not block["kind"], f"{page.name} has a block of kind {block['kind']}"
        needs = block["value"] if block["key"] == "needs" else ""
        code = int(block["value"]) if block["key"] == "exit" else 0
        found += [Step(line, needs, code) for line in block["body"].splitlines()]
    return found
