"""Text without secrets: private keys, tokens, JWTs, Authorization, passwords in URLs, and given values."""

import re
from collections.abc import Callable, Iterable
from typing import Final

from agent.core.support import private_keys

REMOVED: Final = "<removed>"
_SHORTEST: Final = 6  # characters of a given value; a shorter one would also be part of ordinary words

_QUOTED: Final = r"\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'"
# No pattern begins with a run of any letters: on a long word the time would grow with its square.
_NAME: Final = r"(?:token|secret|passw(?:or)?d|passphrase|pwd|private[_-]?key|api[_-]?key|access[_-]?key|key-data)"
_FRONT: Final = r"[\w.-]{0,40}"
_HEADERS: Final = r"(?:proxy-)?authorization|(?:set-)?cookie|x-[a-z0-9-]{0,40}(?:token|key|secret|auth)"


def _named(found: "re.Match[str]") -> str:
    """The name stays, and the quotes of the value, so that JSON and TOML can still be read."""
    quote = found["value"][0] if found["value"][0] in "\"'" else ""
    return f"{found['name']}{quote}{REMOVED}{quote}"


def _before(found: "re.Match[str]") -> str:
    return f"{found['name']}{REMOVED}"


_RULES: Final[tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], str]], ...]] = tuple(
    (re.compile(pattern, re.IGNORECASE | re.MULTILINE), replace)
    for pattern, replace in (
        # A header to the end of its value: of the quotes, or of the line.
        (
            rf"(?P<name>(?<![\w-])(?:{_HEADERS})(?=[^\w\n]{{0,8}}[:=,])[^\w\n]{{1,8}}(?:b[\"'])?)"
            r"(?P<value>(?:\\.|[^\"'\\\n])+)",
            _before,
        ),
        (r"(?P<name>\bbearer\s{1,4})(?P<value>[\w.~+/=-]{6,})", _before),
        (r"(?P<name>\bbasic\s{1,4})(?=[a-z+/]{0,200}[0-9=])(?P<value>[\w+/=-]{6,})", _before),
        # User and password of a URL; a password may have @ or / in it.
        (
            r"(?P<name>://)"
            r"(?P<value>[^\s/?#\"'<>]{1,512}|[^\s:/@\"'<>]{1,256}:[^\s\"'<>]{1,512})(?=@)",
            _before,
        ),
        (rf"(?P<name>[?&](?:{_FRONT}{_NAME}|key|sig|signature|auth|code|sas)=)(?P<value>[^\s&\"'<>#]+)", _before),
        # KEY = value, "key": value, and key: value on a line of its own.
        (rf"(?P<name>{_NAME}[\"']?[ \t]{{0,4}}=[ \t]{{0,4}})(?P<value>{_QUOTED}|[^\s,;&\"'<>]+)", _named),
        (rf"(?P<name>{_NAME}[\"'][ \t]{{0,4}}:[ \t]{{0,4}})(?P<value>{_QUOTED}|[^\s,;\"'<>}}\]]+)", _named),
        (rf"(?P<name>^[ \t]{{0,40}}(?:- )?{_FRONT}{_NAME}:[ \t]{{1,4}})(?P<value>{_QUOTED}|\S+)[ \t]*$", _named),
        (r"(?P<name>_key=)(?P<value>\S+)", _before),
        # Of a command line, also as a list of words.
        (rf"(?P<name>--?{_FRONT}{_NAME}[\"',\s=]{{1,6}})(?P<value>[^\s\"',=<][^\s\"',]*)", _before),
        (r"(?P<name>(?<!\S)(?:-u|--user)[ =])(?P<value>[^\s:]{1,256}:\S+)", _before),
    )
)
# As every JSON object in base64 begins: JWTs, and what carries one.
_JWT: Final = re.compile(r"eyJ[\w-]{6,}(?:\.[\w-]*){0,4}")


def scrub(text: str, secret: Iterable[str] = ()) -> str:
    """`secret`: values that are known to be secret, wherever they are."""
    for value in sorted({one for one in secret if len(one) >= _SHORTEST}, key=len, reverse=True):
        text = text.replace(value, REMOVED)
    text = _JWT.sub(REMOVED, private_keys.without(text, REMOVED))
    for pattern, replace in _RULES:
        text = pattern.sub(replace, text)
    return text


_LIST: Final = re.compile(rf"^(\s*command\s*=\s*\[)((?:{_QUOTED}|[^\]\"'])*)", re.MULTILINE)
_TABLE: Final = re.compile(rf"^(\s*headers\s*=\s*\{{)((?:{_QUOTED}|[^}}\"'])*)", re.MULTILINE)
_WORD: Final = re.compile(_QUOTED)
_VALUE: Final = re.compile(rf"(=\s*)(?:{_QUOTED})")


def configuration(text: str) -> str:
    """A fairlead.toml without the arguments of its probes' commands and the values of their headers: any of them
    may be a password."""
    text = _LIST.sub(lambda found: found[1] + _first_word(found[2]), text)
    return _TABLE.sub(lambda found: found[1] + _VALUE.sub(rf'\1"{REMOVED}"', found[2]), text)


def _first_word(words: str) -> str:
    program = _WORD.search(words)
    if program is None:
        return words
    return words[: program.end()] + _WORD.sub(f'"{REMOVED}"', words[program.end() :])
