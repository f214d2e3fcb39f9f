"""Tables and values as TOML. Python reads TOML and does not write it."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def text(tree: Mapping[str, Any]) -> str:
    """`tree`: tables, and lists of tables, of values."""
    parts = []
    for name, table in tree.items():
        tables, head = (table, f"[[{_key(name)}]]") if isinstance(table, list) else ([table], f"[{_key(name)}]")
        parts += ["\n".join((head, *_lines(one))) + "\n" for one in tables]
    return "\n".join(parts)


def _lines(table: Mapping[str, Any]) -> Iterator[str]:
    for key, one in table.items():
        yield f"{_key(key)} = {value(one)}"


def value(of: object) -> str:
    """On one line."""
    match of:
        case bool():
            return str(of).lower()
        case int() | float():
            return repr(of)
        case str():
            return _quoted(of)
        case list() | tuple():
            return f"[{', '.join(map(value, of))}]"
        case Mapping():
            return f"{{ {', '.join(f'{_key(str(key))} = {value(one)}' for key, one in of.items())} }}"
    raise TypeError(f"TOML has no {type(of).__name__}")


def _key(key: str) -> str:
    return key if _BARE.fullmatch(key) else _quoted(key)


def _quoted(word: str) -> str:
    return '"' + "".join(map(_escaped, word)) + '"'


def _escaped(letter: str) -> str:
    if letter in '"\\':
        return f"\\{letter}"
    return letter if letter >= " " and letter != "\x7f" else f"\\u{ord(letter):04x}"
