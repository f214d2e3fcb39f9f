"""The secrets of this host that can be read now, so that they are removed wherever they appear."""

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from agent import host as hosts
from agent.core.support import secret_values
from agent.host import Host, reading


def values(prefix: str) -> frozenset[str]:
    return frozenset(filter(None, _values(Host.below(prefix))))


def _values(host: Host) -> Iterator[str]:
    folder, tree = host.configuration.parent, _tree(_text(host.configuration))
    api, identity = _table(tree, "api"), _table(tree, "identity")
    tokens = (folder / "token", folder / "identity-token", host.token, *_named(api, "token_file"))
    for path in (*tokens, *_named(identity, "token_file")):
        yield from secret_values.of_token_file(_text(path))
    for path in (folder / "kubeconfig", *_named(api, "kubeconfig")):
        yield from secret_values.of_kubeconfig(_yaml(_text(path)))
    yield from secret_values.of_configuration(tree)


def _named(table: Mapping[str, Any], key: str) -> list[Path]:
    path = table.get(key)
    return [Path(hosts.credential(path))] if isinstance(path, str) and path else []


def _table(tree: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    table = tree.get(key)
    return table if isinstance(table, dict) else {}


def _text(path: Path) -> str:
    """ "": this user cannot read it, and then no part has it."""
    try:
        return reading.text(path, reading.DOCUMENT, links=True)
    except OSError:
        return ""


def _tree(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return {}


def _yaml(text: str) -> object:
    import yaml

    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError):
        return None
