"""Root's own configuration file, read again by each request.

What reads TOML is loaded where there is such a file: a host before `fairlead join` is asked as well.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING

from agent.core import failure
from agent.core.reason import Reason
from agent.host import Host
from agent.privileged import Refusal
from agent.privileged.system import files

if TYPE_CHECKING:
    from agent import config


def read(prefix: Path) -> config.Config:
    """Raises Refusal: it cannot be read, trusted or used."""
    place = Host(prefix).configuration
    try:
        text = files.read(place)
    except Refusal as refusal:
        raise Refusal(refusal.detail, Reason.CONFIGURATION_UNUSABLE) from None
    from agent.config import ConfigError

    try:
        return _parsed(text)
    except ConfigError as error:
        raise Refusal(f"cannot use {place}: {error}", Reason.CONFIGURATION_UNUSABLE) from None


@functools.lru_cache(maxsize=4)
def _parsed(text: str) -> config.Config:
    """One request reads it many times. Raises ConfigError."""
    from agent import config

    return config.parse(text)


def member(prefix: Path, source: Path) -> str:
    """Who this host is in the mesh: by the present configuration, and where that cannot be used, by the one in
    force. Raises Refusal."""
    try:
        host = read(prefix)
    except Refusal:
        host = read(source)
    return failure.record(host.workload.namespace, host.workload.name, host.workload.identity)
