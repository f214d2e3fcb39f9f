"""All fault scenarios: importing a file registers its scenarios in SCENARIOS."""

from tests.host import (
    scenarios_api,
    scenarios_control,
    scenarios_drain,
    scenarios_greet,
    scenarios_host,
    scenarios_identity,
    scenarios_metrics,
    scenarios_open,
    scenarios_probe,
    scenarios_proxy,
    scenarios_reload,
    scenarios_resident,
    scenarios_secrets,
    scenarios_socket,
)
from tests.host.scenario import LONGEST, SCENARIOS, Scenario

__all__ = [
    "LONGEST",
    "SCENARIOS",
    "Scenario",
    "scenarios_api",
    "scenarios_control",
    "scenarios_drain",
    "scenarios_greet",
    "scenarios_host",
    "scenarios_identity",
    "scenarios_metrics",
    "scenarios_open",
    "scenarios_probe",
    "scenarios_proxy",
    "scenarios_reload",
    "scenarios_resident",
    "scenarios_secrets",
    "scenarios_socket",
]
