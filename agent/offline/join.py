"""Joins a mesh by a bundle: what would change on this host, and writing it. Root alone calls it.

Law: everything is checked before the first write, and the configuration is written last: a run that was broken off
leaves the previous configuration, and the next run completes it.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.adapters import files, interfaces
from agent.config import Config, parse
from agent.config.derived import proxy_binary
from agent.core.enrol import bundle as bundles
from agent.core.enrol import merge
from agent.core.enrol.bundle import Bundle, Unusable
from agent.core.enrol.merge import Change, Conflict
from agent.core.reasons import Reason
from agent.host import Host, reading
from agent.ports import Trouble

KEPT = ".before-join"  # the name of a person's file that was replaced ends in this


class Refused(Exception):
    """`cause` and `remedy`, for people."""

    def __init__(self, cause: str, remedy: str) -> None:
        super().__init__(cause)
        self.cause, self.remedy = cause, remedy


@dataclass(frozen=True)
class Plan:
    """`writes`: path → content, in the order in which they are written."""

    bundle: Bundle
    changes: tuple[Change, ...]
    conflicts: tuple[Conflict, ...]
    writes: Mapping[Path, str]
    keeps: tuple[Path, ...]  # that a person wrote; a copy of each stays
    config: Config


def plan(prefix: str, bundle: Bundle, *, replace: bool) -> Plan:
    """Raises Refused, ConfigError: the configuration that would be written has problems."""
    host = Host.below(prefix)
    last, text = _last(host), _text(host.configuration)
    now = None if text is None else _tree(text)
    _must_fit(bundle, last, now, replace)
    by_hand = text is not None and (last is None or text != merge.render(last.config, last.made))
    merged = merge.configuration(now, by_hand, last, bundle, replace=replace)
    folder = host.configuration.parent
    found = [
        merge.file(name, _text(folder / name), last, bundle, replace=replace) for name in sorted(bundle.files)
    ]
    changed = [one for one in found if isinstance(one, Change)]
    writes = {folder / one.key: one.after for one in changed}
    if merged.text is not None:
        writes[host.configuration] = merged.text
    return Plan(
        bundle=bundle,
        changes=(*changed, *merged.changes),
        conflicts=(*(one for one in found if isinstance(one, Conflict)), *merged.conflicts),
        writes=writes,
        keeps=tuple(path for path in writes if _by_person(path, last, by_hand, host)),
        config=parse(merged.text if merged.text is not None else text or ""),
    )


def check_host(prefix: str, config: Config) -> None:
    """What this host must have. Raises Refused."""
    binary = Path(proxy_binary(config, prefix))
    if reading.absent(binary):
        remedy = "install it first: fairlead proxy install FILE, as in docs/proxy.md"
        raise Refused(f"linkerd2-proxy is not installed: there is no {binary}", remedy)
    if config.host.address_translated:
        return
    try:
        absent = interfaces.absent([str(address) for address in config.host.addresses])
    except Trouble as trouble:
        raise Refused(trouble.detail, trouble.fault.way_out) from None
    if absent:
        remedy = "join the host for which the bundle was made, or enrol this one with its own address"
        raise Refused(f"no interface of this host has {', '.join(absent)} [{Reason.ADDRESS_ABSENT}]", remedy)


def write(prefix: str, plan: Plan) -> None:
    """Raises OSError; then what was not written is as before."""
    for path in plan.keeps:
        files.write_atomically(path.with_name(path.name + KEPT), reading.read(path, reading.DOCUMENT, links=True))
    for path, text in plan.writes.items():
        files.write_atomically(path, text)
    record = Host.below(prefix).joined
    if _text(record) != plan.bundle.text:
        files.write_atomically(record, plan.bundle.text)


def _must_fit(bundle: Bundle, last: Bundle | None, now: Mapping[str, Any] | None, replace: bool) -> None:
    """To this host. Raises Refused."""
    workload = (now or {}).get("workload")
    named = workload if isinstance(workload, dict) else {}
    label = f"{named.get('namespace')}/{named.get('name')}"
    if named and label != bundle.label and not replace:
        remedy = "join with its own bundle; to make it another host: fairlead leave, then fairlead join --replace"
        raise Refused(f"the bundle is for {bundle.label}, and this host is {label}", remedy)
    if last is not None and last.label == bundle.label and bundle.made < last.made:
        cause = f"the bundle was made at {bundle.made}, before the one with which this host joined ({last.made})"
        raise Refused(cause, "run `fairlead enrol` again: it makes a new one")


def _last(host: Host) -> Bundle | None:
    """None too if the record cannot be used: then every file counts as a person's."""
    text = _text(host.joined)
    try:
        return None if text is None else bundles.read(text)
    except Unusable:
        return None


def _by_person(path: Path, last: Bundle | None, by_hand: bool, host: Host) -> bool:
    if path == host.configuration:
        return by_hand
    there = _text(path)
    return there is not None and (last is None or last.files.get(path.name) != there)


def _text(path: Path) -> str | None:
    """None: there is no such file. Raises Refused."""
    try:
        return reading.read(path, reading.DOCUMENT, links=True).decode()
    except FileNotFoundError:
        return None
    except UnicodeDecodeError:
        raise Refused(f"cannot read {path}: it is not UTF-8 text", "move it away") from None
    except OSError as error:
        raise Refused(f"cannot read {path}: {error.strerror}", "run it with sudo") from None


def _tree(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text.removeprefix("\ufeff"))
    except tomllib.TOMLDecodeError as error:
        cause = f"the configuration of this host is not valid TOML: {error}"
        raise Refused(cause, "correct it, or move it away") from None
