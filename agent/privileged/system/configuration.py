"""Root's own configuration file, read again by each request."""

import functools
from pathlib import Path

from agent import config
from agent.core import failure
from agent.core.reason import Reason
from agent.host import Host
from agent.privileged import Refusal
from agent.privileged.system import files

# One request reads it many times; the text is the key of the cache.
_parsed = functools.lru_cache(maxsize=4)(config.parse)


def read(prefix: Path) -> config.Config:
    """Raises Refusal: it cannot be read, trusted or used."""
    place = Host(prefix).configuration
    try:
        return _parsed(files.read(place))
    except Refusal as refusal:
        raise Refusal(refusal.detail, Reason.CONFIGURATION_UNUSABLE) from None
    except config.ConfigError as error:
        raise Refusal(f"cannot use {place}: {error}", Reason.CONFIGURATION_UNUSABLE) from None


def member(prefix: Path, source: Path) -> str:
    """Who this host is in the mesh: by the present configuration, and where that cannot be used, by the one in
    force. Raises Refusal."""
    try:
        host = read(prefix)
    except Refusal:
        host = read(source)
    return failure.record(host.workload.namespace, host.workload.name, host.workload.identity)
