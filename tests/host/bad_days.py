"""All fault scenarios: importing a file registers its scenarios in DAYS."""

from tests.host import (
    days_api,
    days_control,
    days_drain,
    days_greet,
    days_host,
    days_identity,
    days_open,
    days_probe,
    days_proxy,
    days_reload,
    days_secrets,
)
from tests.host.days import DAYS, LONGEST, Day

__all__ = [
    "DAYS",
    "LONGEST",
    "Day",
    "days_api",
    "days_control",
    "days_drain",
    "days_greet",
    "days_host",
    "days_identity",
    "days_open",
    "days_probe",
    "days_proxy",
    "days_reload",
    "days_secrets",
]
