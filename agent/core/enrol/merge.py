"""A host's files, from a bundle and from what is there. A value that a person set stays, or is a conflict."""

from collections.abc import Mapping
from typing import Any, Final

from agent.core import toml_text
from agent.core.enrol.bundle import Bundle
from agent.core.late import dataclass

Tree = Mapping[str, Any]
_ABSENT: Final = object()
HEAD: Final = """\
# Written by `fairlead join` from the bundle of {made}. Keys that you edit or add stay as they are:
# a later bundle that differs in them is refused. man fairlead.toml has each key.

"""


@dataclass(frozen=True)
class Conflict:
    """`key`: of fairlead.toml, or the name of another file; there `here` and `there` are ""."""

    key: str
    here: str = ""
    there: str = ""

    @property
    def text(self) -> str:
        if not (self.here or self.there):
            return f"{self.key} was written by hand, and the bundle has another one"
        return f"{self.key} is {self.here} here and {self.there} in the bundle"


@dataclass(frozen=True)
class Change:
    """`key`: of fairlead.toml, or the name of another file. A text that is empty: there was or is none."""

    key: str
    before: str
    after: str


@dataclass(frozen=True)
class Merged:
    """`text`: of fairlead.toml; None: it stays as it is, byte for byte."""

    text: str | None
    changes: tuple[Change, ...]
    conflicts: tuple[Conflict, ...]


def configuration(now: Tree | None, by_hand: bool, last: Bundle | None, new: Bundle, *, replace: bool) -> Merged:
    """`now`: the file as it is, None without one. `by_hand`: its text is not the one that `join` wrote."""
    here, before = _flat(now or {}), _flat(last.config if last else {})
    there = _flat(new.config)
    wanted, conflicts = dict(here), []
    for key in dict.fromkeys((*before, *there)):
        ours = key not in here if key not in before else here.get(key, _ABSENT) == before[key]
        value = there.get(key, _ABSENT)
        if value == here.get(key, _ABSENT):
            continue
        if not ours and before.get(key, _ABSENT) == value:
            continue  # a person's choice, and the bundle asks for nothing new
        if not ours and not replace:
            conflicts.append(Conflict(key, _shown(here.get(key, _ABSENT)), _shown(value)))
        elif value is _ABSENT:
            wanted.pop(key, None)
        else:
            wanted[key] = value
    changes = tuple(
        Change(key, _shown(here.get(key, _ABSENT)), _shown(wanted.get(key, _ABSENT)))
        for key in dict.fromkeys((*here, *wanted))
        if here.get(key, _ABSENT) != wanted.get(key, _ABSENT)
    )
    if changes and by_hand and last is None and not replace:
        conflicts += [Conflict(change.key, change.before or "absent", change.after) for change in changes]
    text = render(_tree(wanted), new.made) if changes else None
    return Merged(text, changes, tuple(conflicts))


def file(
    name: str, now: str | None, last: Bundle | None, new: Bundle, *, replace: bool
) -> Change | Conflict | None:
    """Of a file that the bundle brings; None: it stays as it is."""
    there = new.files[name]
    if now == there:
        return None
    if now is None or replace or (last is not None and last.files.get(name) == now):
        return Change(name, "" if now is None else now, there)
    return Conflict(name)


def render(tree: Tree, made: str) -> str:
    return HEAD.format(made=made) + toml_text.text(tree)


def _flat(tree: Tree) -> dict[str, Any]:
    """All tables of a list count as one value."""
    found: dict[str, Any] = {}
    for table, keys in tree.items():
        found |= {f"{table}.{key}": value for key, value in keys.items()} if isinstance(keys, Mapping) else {}
        found |= {} if isinstance(keys, Mapping) else {table: keys}
    return found


def _tree(flat: Tree) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for dotted, value in flat.items():
        table, dot, key = dotted.partition(".")
        if dot:
            tree.setdefault(table, {})[key] = value
        else:
            tree[table] = value
    return tree


def _shown(value: object) -> str:
    if value is _ABSENT:
        return ""
    return toml_text.value(value)
