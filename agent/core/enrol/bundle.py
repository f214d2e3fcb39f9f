"""The join bundle: one text with everything that a host needs to join, and no secret.

Law: a bundle sets only the keys listed here. Commands, users and variables never come with it.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final

from agent.core.late import dataclass

Json = dict[str, Any]
VERSION: Final = 1
FIRST: Final = "# fairlead join bundle"
LAST: Final = "# end of the bundle, sha256 "

ANCHORS: Final = "trust-anchors.pem"
AUTHORITY: Final = "api-ca.pem"
FILES: Final = (ANCHORS, AUTHORITY)  # below /etc/fairlead, as the configuration names them
# Table and keys of fairlead.toml.
KEYS: Final[Mapping[str, frozenset[str]]] = {
    "workload": frozenset({"name", "namespace", "identity", "server_name", "ports", "opaque_ports"}),
    "host": frozenset({"addresses", "address_translated"}),
    "identity": frozenset({"mode", "workload_api", "trust_anchors"}),
    "api": frozenset({"auth", "server", "ca", "audience", "identity", "token_file", "lease_period"}),
    "control_plane": frozenset(
        {"namespace", "cluster_domain", "trust_domain", "cluster_networks", "destination", "policy"}
    ),
    "redirect": frozenset({"inbound", "outbound_networks", "exempt"}),
}
_OF_PROBES: Final = {"name", "kind", "port", "path", "scheme", "headers", "service", "unit", "ttl"} | {
    *("initial_delay", "period", "timeout", "success_threshold", "failure_threshold", "startup"),
}
_NO_COMMANDS: Final = ("http", "tcp", "grpc", "systemd", "push")


class Unusable(Exception):
    """`cause`: what is wrong with the text; `remedy`: what to do."""

    def __init__(self, cause: str, remedy: str) -> None:
        super().__init__(cause)
        self.cause, self.remedy = cause, remedy


_AGAIN: Final = "copy it again from `fairlead enrol`, whole and unchanged"


@dataclass(frozen=True)
class Bundle:
    """`made`: when, RFC 3339 with microseconds in UTC, so that texts compare as times. `config`: tables and keys
    of fairlead.toml. `files`: name below /etc/fairlead → content."""

    made: str
    config: Mapping[str, Any]
    files: Mapping[str, str]

    @property
    def label(self) -> str:
        workload = self.config["workload"]
        return f"{workload['namespace']}/{workload['name']}"

    @property
    def body(self) -> Json:
        return {"version": VERSION, "made": self.made, "config": dict(self.config), "files": dict(self.files)}

    @property
    def fingerprint(self) -> str:
        return _digest(self.body)

    @property
    def text(self) -> str:
        shown = json.dumps(self.body, indent=1, sort_keys=True)
        return f"{FIRST} of {self.label}: no secret\n{shown}\n{LAST}{self.fingerprint}\n"


def read(text: str) -> Bundle:
    """Raises Unusable."""
    lines = [line.rstrip() for line in text.removeprefix("\ufeff").splitlines() if line.strip()]
    if not lines or not lines[0].startswith(FIRST):
        raise Unusable("it is not a join bundle", "`fairlead enrol NAME --bundle FILE` writes one")
    if not lines[-1].startswith(LAST):
        raise Unusable("it is cut off: its last line is missing", _AGAIN)
    try:
        body = json.loads("\n".join(lines[1:-1]))
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict) or _digest(body) != lines[-1].removeprefix(LAST):
        raise Unusable("it was altered: its content differs from its SHA-256", _AGAIN)
    return _checked(body)


def _digest(body: Json) -> str:
    """Of the content, however it is indented."""
    return hashlib.sha256(json.dumps(body, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _checked(body: Json) -> Bundle:
    version = body.get("version")
    if not isinstance(version, int) or version > VERSION:
        cause = f"it is of version {version}, and this fairlead knows version {VERSION}"
        raise Unusable(cause, "install the fairlead on this host that made it, or a newer one")
    match body:
        case {"made": str(made), "config": dict(config), "files": dict(files)}:
            _check_config(config)
        case _:
            raise Unusable("it lacks a part", _AGAIN)
    if set(files) - set(FILES) or not all(isinstance(content, str) for content in files.values()):
        raise Unusable(
            f"it has files besides {' and '.join(FILES)}", "do not use it: fairlead made no such bundle"
        )
    return Bundle(made, config, files)


def _check_config(config: Mapping[str, Any]) -> None:
    foreign = [
        f"{table}.{key}"
        for table, keys in config.items()
        if table != "probe"
        for key in (keys if isinstance(keys, dict) else {"": 0})
        if key not in KEYS.get(table, ())
    ]
    probes = config.get("probe", [])
    for probe in probes if isinstance(probes, list) else ["probe"]:
        good = isinstance(probe, dict) and probe.get("kind") in _NO_COMMANDS and set(probe) <= _OF_PROBES
        foreign += [] if good else ["probe"]
    workload = config.get("workload")
    if not isinstance(workload, dict) or not {"name", "namespace"} <= set(workload):
        raise Unusable("it names no host", _AGAIN)
    if foreign:
        cause = f"it sets {', '.join(sorted(set(foreign)))}, which a bundle may not set"
        raise Unusable(cause, "do not use it; write these keys into /etc/fairlead/fairlead.toml")
