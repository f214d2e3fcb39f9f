"""Logs: one line an event. Under systemd each goes to the journal with fields of its own, so that
`journalctl FAIRLEAD_REASON=…` works; else it goes to standard error, as text or as JSON.

Every line passes a budget: a repeated error must not fill a disk or hide the rest.
"""

import logging
import os
import sys
import time
from collections.abc import Callable, Mapping

import structlog
from structlog.typing import EventDict

from agent.adapters.journal import Journal, is_journal
from agent.core.text import visible

# Lines at once, and lines a second afterwards: a transition is one to three lines.
BURST, STEADY = 60, 0.5

PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "exception": 3, "critical": 2}
# What every entry may be searched by; other keys become FAIRLEAD_KEY.
_NAMES = {"workload": "EXTERNAL_WORKLOAD", "exception": "FAIRLEAD_TRACEBACK"}
# In the text they would repeat its beginning.
_UNSPOKEN = ("reason", "component", "workload")


def configure(*, json: bool, workload: str = "") -> None:
    """Human text, or JSON on request. `workload`: NAMESPACE/NAME of the ExternalWorkload. Libraries that use
    `logging` log from warnings on."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(name)s: %(message)s")
    native = not json and is_journal(2, os.environ)
    form = structlog.processors.JSONRenderer() if json else journal_fields if native else text
    structlog.configure(
        processors=[
            Budget(time.monotonic),
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _About(workload),
            form,
        ],
        logger_factory=_JournalLogger if native else structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )


class Budget:
    """Drops what is beyond BURST lines at once and STEADY a second, and says how many it dropped."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._room, self._at, self._dropped = float(BURST), now(), 0

    def __call__(self, logger: object, method: str, event: EventDict) -> EventDict:
        now = self._now()
        self._room, self._at = min(BURST, self._room + (now - self._at) * STEADY), now
        if self._room < 1:
            self._dropped += 1
            raise structlog.DropEvent
        self._room -= 1
        if self._dropped:
            event["dropped"], self._dropped = self._dropped, 0
        return event


class _About:
    """The workload of every line."""

    def __init__(self, workload: str) -> None:
        self._workload = workload

    def __call__(self, logger: object, method: str, event: EventDict) -> EventDict:
        return {**event, "workload": self._workload} if self._workload else event


def text(logger: object, method: str, event: EventDict) -> str:
    """`time level event key=value …`; an exception's traceback follows."""
    trace = event.get("exception", "")
    return f"{event['timestamp']} {event['level']:<7} {_message(event)}" + (f"\n{trace}" if trace else "")


def journal_fields(
    logger: object, method: str, event: EventDict
) -> tuple[tuple[Mapping[str, str]], dict[str, str]]:
    """The arguments of the logger's own method: an entry for people first, and the same for queries."""
    fields = {
        "MESSAGE": _message(event),
        "PRIORITY": str(PRIORITIES[event["level"]]),
        "SYSLOG_IDENTIFIER": "fairlead",
    }
    for key, value in event.items():
        if key not in ("event", "level", "timestamp"):
            fields[_NAMES.get(key, f"FAIRLEAD_{key.upper()}")] = str(value)
    return (fields,), {}


def _message(event: EventDict) -> str:
    shown = {k: v for k, v in event.items() if k not in ("event", "level", "timestamp", "exception", *_UNSPOKEN)}
    return visible(str(event["event"])) + "".join(f" {key}={value!r}" for key, value in shown.items())


class _JournalLogger:
    """structlog's writer. While journald is down, lines go to standard error, which systemd keeps for it."""

    def __init__(self, *_: object) -> None:
        self._journal = Journal()

    def msg(self, fields: Mapping[str, str]) -> None:
        try:
            self._journal.send(fields)
        except OSError:
            print(fields["MESSAGE"], file=sys.stderr, flush=True)

    debug = info = warning = error = exception = critical = msg
