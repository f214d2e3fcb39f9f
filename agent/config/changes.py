"""What an edited file changes, and what puts each change in force. The table of docs/reload.md."""

import dataclasses
import enum
import hashlib
from collections.abc import Mapping

from agent.config.shape import Config


class Takes(enum.Enum):
    LIVE = "nothing: the agent applies it at once"
    LOG = "nothing: the agent sets it in the running proxy at once"
    PROXY = "a restart of the proxy: `fairlead reload --restart-proxy`"
    REDIRECT = "approval by root: `fairlead redirect apply`"
    JOIN = "that the host joins again: `fairlead leave`, `systemctl restart fairlead`, `fairlead join`"


_LIVE, _PROXY, _REDIRECT, _JOIN = {Takes.LIVE}, {Takes.PROXY}, {Takes.REDIRECT}, {Takes.JOIN}

# By table or by key; a key beats its table.
TAKES: Mapping[str, set[Takes]] = {
    "workload.name": _JOIN,
    "workload.namespace": _JOIN,
    "workload": _PROXY,
    "workload.ports": _PROXY | _REDIRECT,
    "host": _PROXY | _REDIRECT,
    "host.address_translated": _LIVE,
    "identity": _PROXY,
    "identity.mode": _JOIN,
    "identity.hint": _LIVE,
    "identity.trust_anchors": _LIVE,
    "identity.anchors_source": _LIVE,
    "identity.anchors_follow": _LIVE,
    "identity.anchors_window": _LIVE,
    "api": _LIVE,
    "api.server": _REDIRECT,  # it is never redirected
    "proxy": _PROXY,
    "proxy.log": {Takes.LOG},
    "proxy.ready_within": _LIVE,
    "proxy.standby": _LIVE,
    "proxy.slots": _PROXY | _REDIRECT,
    "proxy.slot_network": _PROXY | _REDIRECT,
    "proxy.user": _JOIN,
    "proxy.runtime": _JOIN,
    "control_plane": _PROXY,
    "control_plane.destination": _PROXY | _REDIRECT,
    "control_plane.policy": _PROXY | _REDIRECT,
    "redirect": _REDIRECT,
    "probe": _LIVE,
    "drain": _LIVE,
    "ready": _LIVE,
    "metrics": _LIVE,
    "socket": _LIVE,
}


def takes(key: str) -> set[Takes]:
    return TAKES.get(key) or TAKES[key.partition(".")[0]]


def changed(before: Config, after: Config) -> tuple[str, ...]:
    """The keys that differ, dotted as in the file; all probes count as one key."""
    return tuple(key for key, value in _flat(before).items() if _flat(after)[key] != value)


def digest(config: Config) -> str:
    """The same for the same values, in every process of one version."""
    return hashlib.sha256(repr(config).encode()).hexdigest()[:12]


def _flat(config: Config) -> dict[str, object]:
    tables = {
        each.name: getattr(config, each.name) for each in dataclasses.fields(config) if each.name != "probes"
    }
    keys = {f"{name}.{key}": value for name, table in tables.items() for key, value in vars(table).items()}
    return {**keys, "probe": config.probes}
