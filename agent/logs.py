"""Logs: one line an event, to standard error, which systemd hands to the journal."""

import logging
import sys

import structlog


def configure(*, json: bool) -> None:
    """Human text, or JSON on request. Libraries that use `logging` are heard from warnings on."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(name)s: %(message)s")
    form: structlog.typing.Processor = structlog.processors.JSONRenderer() if json else _text
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            form,
        ],
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )


def _text(logger: object, method: str, event: structlog.typing.EventDict) -> str:
    """`time level event key=value …`; what an exception has to say comes below."""
    time, level, said = event.pop("timestamp"), event.pop("level"), event.pop("event")
    trace = event.pop("exception", "")
    rest = "".join(f" {key}={value!r}" for key, value in event.items())
    return f"{time} {level:<7} {said}{rest}" + (f"\n{trace}" if trace else "")
