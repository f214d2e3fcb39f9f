"""Which values of a host's own files are secret. They are removed wherever they appear, also where no rule about
text would find them."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

_OF_A_USER: Final = ("token", "password", "client-key-data")


def of_kubeconfig(tree: object) -> Iterator[str]:
    """Tokens, passwords, keys, and the variables and arguments of programs that give them."""
    for entry in _items(_table(tree).get("users")):
        user = _table(_table(entry).get("user"))
        yield from (value for key in _OF_A_USER if (value := _text(user.get(key))))
        yield from filter(None, map(_text, _table(_table(user.get("auth-provider")).get("config")).values()))
        for variable in _items(_table(user.get("exec")).get("env")):
            if value := _text(_table(variable).get("value")):
                yield value


def of_configuration(tree: object) -> Iterator[str]:
    """The headers of probes: an application may want a password from its probe."""
    for probe in _items(_table(tree).get("probe")):
        for value in _table(_table(probe).get("headers")).values():
            text = _text(value)
            yield text
            yield text.rpartition(" ")[2]  # of "Bearer VALUE"


def of_token_file(content: str) -> Iterator[str]:
    yield content.strip()


def _table(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _items(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: object) -> str:
    return value.strip() if isinstance(value, str) else ""
