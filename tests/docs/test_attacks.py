"""The table of attacks in docs/security.md names each test that plays an attacker, and no other."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_table_names_every_attack_and_every_attack_is_in_the_table() -> None:
    named = set(re.findall(r"`(test_attack_\w+)`", (ROOT / "docs/security.md").read_text()))
    sources = [path.read_text() for path in ROOT.glob("tests/attacks/test_*.py")]
    found = {name for text in sources for name in re.findall(r"def (test_attack_\w+)\(", text)}
    assert named == found
