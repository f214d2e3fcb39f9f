"""Words: spelling, and private phrases for which the field has a term. See Language in CONTRIBUTING.md."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("agent", "benchmarks", "config", "docs", "packaging", "systemd", "tests")
KINDS = {".py", ".md", ".toml", ".yaml", ".service", ".socket", ".target", ".8", ""}
# What others wrote, and this file.
OTHERS = ("tests/cases/", "tests/core/recorded/", "tests/docs/test_language.py")
FORBIDDEN = {
    r"\bthe door\b": "the privileged helper",
    r"\bwhoever\b": "the process, operator or client that",
    r"\banew\b": "again",
    r"\bha[sd] run out\b": "has expired",
    r"\b(lets? go|letting go)\b": "releases",
    r"\bthe mesh (was|is) told\b": "published",
    r"\bits own affair\b": "say who decides it",
}


def texts() -> list[Path]:
    found = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.suffix in KINDS]
    kept = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "Makefile")]
    return [
        path
        for path in (*kept, *sorted(found))
        if path.is_file() and not str(path.relative_to(ROOT)).startswith(OTHERS)
    ]


@pytest.mark.parametrize("phrase", FORBIDDEN)
def test_a_term_of_the_field_is_used(phrase: str) -> None:
    found = {
        f"{path.relative_to(ROOT)}:{text.count(chr(10), 0, hit.start()) + 1}"
        for path in texts()
        for text in [path.read_text(errors="replace")]
        for hit in re.finditer(phrase, text, re.IGNORECASE)
    }
    assert not found, f"write {FORBIDDEN[phrase]!r} instead"


def test_the_words_are_spelled_as_in_a_dictionary() -> None:
    done = subprocess.run(
        [Path(sys.executable).parent / "codespell", *texts()], capture_output=True, text=True, cwd=ROOT, env={}
    )
    assert done.returncode == 0, done.stdout
