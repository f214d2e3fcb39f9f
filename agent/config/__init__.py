"""The configuration: TOML text → Config, or every problem found at once.

Law: parsing never touches the host (no file, no user database, no network). The same text is read by the
agent and, separately, by the privileged helper, which does not trust the agent's result. So only core and the
standard library are imported here.
"""

import tomllib

from agent.config.refusals import refusals
from agent.config.schema import read
from agent.config.shape import (
    Address,
    ApiConfig,
    Config,
    ConfigError,
    ControlPlaneConfig,
    DrainConfig,
    Endpoint,
    HostConfig,
    IdentityConfig,
    MetricsConfig,
    Network,
    PortRange,
    Problem,
    ProxyConfig,
    ReadyConfig,
    RedirectConfig,
    SocketConfig,
    WorkloadConfig,
)
from agent.config.warnings import warnings


def parse(text: str) -> Config:
    """TOML text → Config. Raises ConfigError with every problem of the file at once."""
    try:
        tree = tomllib.loads(text.removeprefix("\ufeff"))
    except tomllib.TOMLDecodeError as error:
        problem = Problem("", f"not valid TOML: {error}", "correct the syntax at that place")
        raise ConfigError((problem,)) from None
    return read(tree)


__all__ = [
    "Address",
    "ApiConfig",
    "Config",
    "ConfigError",
    "ControlPlaneConfig",
    "DrainConfig",
    "Endpoint",
    "HostConfig",
    "IdentityConfig",
    "MetricsConfig",
    "Network",
    "PortRange",
    "Problem",
    "ProxyConfig",
    "ReadyConfig",
    "RedirectConfig",
    "SocketConfig",
    "WorkloadConfig",
    "parse",
    "refusals",
    "warnings",
]
