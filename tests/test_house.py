"""The house rules are tests: style, types, who may import whom, sizes, and documents that match the code."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from agent.config import changes
from agent.core import reasons, replacement

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent
PYTHON = sorted((*ROOT.glob("agent/**/*.py"), *ROOT.glob("packaging/*.py"), *ROOT.glob("tests/**/*.py")))


@pytest.mark.parametrize(
    "command",
    ["ruff check .", "ruff format --check .", "mypy", "mypy packaging", "lint-imports"],
)
def test_lint(command: str) -> None:
    program, *arguments = command.split()
    done = subprocess.run(
        [BIN / program, *arguments], cwd=ROOT, capture_output=True, text=True, env={**os.environ}
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_files_stay_small() -> None:
    sizes = sorted(len(path.read_text().splitlines()) for path in PYTHON)
    assert sizes[-1] <= 400
    assert sizes[len(sizes) // 2] <= 150, "the median file"


def test_every_package_states_its_law() -> None:
    for package in ROOT.glob("agent/*/__init__.py"):
        assert package.read_text().startswith('"""'), package


def test_the_lock_files_name_no_place() -> None:
    for lock in (*ROOT.glob("*.lock"), *ROOT.glob("packaging/*.lock")):
        text = lock.read_text()
        assert "://" not in text and "--index" not in text, lock
        assert "--hash=sha256:" in text, lock


def test_the_page_of_reasons_is_the_registry() -> None:
    page = (ROOT / "docs/reasons.md").read_text()
    assert page == reasons_page(), "write it anew: python -m tests.test_house > docs/reasons.md"


def reasons_page() -> str:
    lines = [
        "# Reasons",
        "",
        "Every reason that fairlead gives, in conditions, logs, `fairlead status` and its JSON. Generated from",
        "`agent/core/reasons.py` and its parts.",
        "",
        "A symptom stays silent among the problems while a reason that it depends on is named.",
        "",
        "| reason | severity | what is the case | what to do | depends on |",
        "| --- | --- | --- | --- | --- |",
    ]
    for reason, entry in reasons.REGISTRY.items():
        causes = ", ".join(f"`{cause.value}`" for cause in reasons.Reason if cause in entry.depends_on)
        row = (f"`{reason.value}`", entry.severity.value, entry.text, entry.remedy, causes)
        lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines) + "\n"


def test_the_page_of_the_proxys_lifecycle_is_the_table() -> None:
    page = (ROOT / "docs/proxy-lifecycle.md").read_text()
    assert page == lifecycle_page(), (
        "write it anew: python -m tests.test_house lifecycle > docs/proxy-lifecycle.md"
    )


def lifecycle_page() -> str:
    """The table of `agent.core.replacement` as a diagram."""
    starts = [f"    [*] --> {_name(replacement.Stage.LEAVING)}"]
    rows = [f"    {_name(a)} --> {_name(b)}: {news.value}" for (a, news), b in replacement.TRANSITIONS.items()]
    ends = [f"    {_name(stage)} --> [*]" for stage in replacement.Stage if stage in replacement.ENDS]
    lines = [
        "# The replacement of a proxy",
        "",
        "Generated from `TRANSITIONS` in `agent/core/replacement.py`; any other transition is an error there.",
        "Without another binary to go back to, the first failure is the last.",
        "",
        "```mermaid",
        "stateDiagram-v2",
        *starts,
        *rows,
        *ends,
        "```",
    ]
    return "\n".join(lines) + "\n"


def _name(stage: replacement.Stage) -> str:
    return stage.value.replace("-", "_")


def test_the_page_of_reloads_is_the_table() -> None:
    page = (ROOT / "docs/reload.md").read_text()
    assert page == reload_page(), "write it anew: python -m tests.test_house reload > docs/reload.md"


def reload_page() -> str:
    """The table of `agent.config.changes`."""
    lines = [
        "# Reload",
        "",
        "Generated from `TAKES` in `agent/config/changes.py`.",
        "",
        "`fairlead reload`, `systemctl reload fairlead` and SIGHUP have the agent read the edited",
        "configuration. A file with problems is refused, each of them is named, and what was read before",
        "stays in force. Else the agent goes on with the new one as after a restart of its own: proxy,",
        "redirect, connections and Ready stay as they are.",
        "",
        "What is not in force by that stays pending: `fairlead status` names RestartPending or",
        "RedirectUnapproved until it is. `fairlead reload --restart-proxy` restarts the proxy in the same go,",
        "drained first, if anything needs it. A proxy that crashes meanwhile starts with the new settings",
        "too. Which binary runs is not looked at: after `proxy.binary` was changed, `fairlead proxy restart`",
        "is what takes it.",
        "",
        "New trust anchors, once they are in force (`fairlead anchors accept`, `identity.anchors_follow`, or",
        "an edited file at `identity.trust_anchors`), restart the proxy by themselves, each host in its turn",
        "within `identity.anchors_window`. TrustAnchorsPending is named until then.",
        "",
        "| key | what an edit takes |",
        "| --- | --- |",
    ]
    for key in sorted(changes.TAKES):
        takes = "; ".join(one.value for one in changes.Takes if one in changes.TAKES[key])
        lines.append(f"| `{key if '.' in key else key + '.*'}` | {takes} |")
    return "\n".join(lines) + "\n"


PAGES = {"lifecycle": lifecycle_page, "reload": reload_page}

if __name__ == "__main__":
    print(PAGES.get("".join(sys.argv[1:]), reasons_page)(), end="")
