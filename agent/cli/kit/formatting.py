"""Formatting for people: durations, colours, and the width of a terminal."""

import os
import sys

from agent.core.late import dataclass

_UNITS = ((86400.0, "days"), (3600.0, "h"), (60.0, "min"))
_COLOURS = {"✓": 32, "✗": 31, "…": 33, "–": 2}
COLUMNS = 80


@dataclass(frozen=True)
class Look:
    """`width`: in columns, 0 for lines of any length; `now`: seconds since the epoch."""

    width: int = 0
    colours: bool = False
    now: float = 0.0

    def painted(self, text: str, mark: str) -> str:
        """`text` in the colour that `mark` has."""
        return f"\033[{_COLOURS[mark]}m{text}\033[0m" if self.colours else text

    def wrapped(self, text: str, hanging: int) -> list[str]:
        """Lines that fit; each after the first is indented. Words are not broken, so that they can be copied."""
        if not self.width or len(text) <= self.width:
            return [text]
        import textwrap

        return textwrap.wrap(
            text,
            self.width,
            subsequent_indent=" " * hanging,
            break_long_words=False,
            break_on_hyphens=False,
            drop_whitespace=True,
        )


PLAIN = Look()


def of_terminal(now: float) -> Look:
    """Colours and width of standard output; neither if it is not a terminal. (See no-color.org.)"""
    if not sys.stdout.isatty():
        return Look(now=now)
    import shutil

    columns = shutil.get_terminal_size((COLUMNS, 24)).columns
    return Look(columns, not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb", now)


def duration(seconds: float) -> str:
    """In the largest unit of which there are at least two; "59 min", "26 h", "1 s"."""
    for size, unit in _UNITS:
        if seconds >= 2 * size:
            return f"{seconds // size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def age(stamp: str, now: float) -> str:
    """The age of a timestamp of the API server; empty if it is invalid, or later than this host's clock."""
    from datetime import datetime

    try:
        passed = now - datetime.fromisoformat(stamp.replace("Z", "+00:00")).timestamp()
    except ValueError:
        return ""
    return duration(passed) if passed >= 0 else ""
