"""Private keys in text: PEM on one line or several, DER in base64 or hexadecimal, or as Python shows bytes."""

import re
from typing import Final

_BEGIN, _END = (rf"-----{word}(?: [A-Z0-9]{{1,20}}){{0,3}} PRIVATE KEY-----" for word in ("BEGIN", "END"))
_MARK: Final = re.compile(f"{_BEGIN}|{_END}")
# On one line, to its end if that is cut off.
_BLOCK: Final = re.compile(f"{_BEGIN}.*?(?:{_END}|$)|{_END}")
_INSIDE: Final = re.compile(r"(?:^|\s)[A-Za-z0-9+/]{16,}={0,2}\s*$")
_LAST: Final = re.compile(r"(?:^|\s)[A-Za-z0-9+/]{1,15}={0,2}\s*$")  # of a block; often a short line
_MOST: Final = 400  # lines of a block; an RSA key of 16384 bits has about 200
_DER: Final = (
    # "-----BEGIN" in base64, as kubeconfigs and Secrets have PEM.
    re.compile(r"LS0tLS1CRUdJTi[A-Za-z0-9+/=]*"),
    # PKCS #8, PKCS #1 and SEC 1 of EC, Ed25519 and RSA keys: a sequence that begins with its version, 0 or 1.
    re.compile(
        r"(?:MI[GH][A-Za-z0-9]AgE[AB]|MH[cQ]CAQEE|MC4CAQA|"
        r"MII[A-Za-z0-9+/]{3}(?:IBADAN|IBAAK))[A-Za-z0-9+/=]{16,}"
    ),
    re.compile(r"30(?:[0-7][0-9a-f]|81[0-9a-f]{2}|82[0-9a-f]{4})02010[01][0-9a-f]{32,}", re.IGNORECASE),
    re.compile(r"0(?:\\x8[12](?:\\x[0-9a-f]{2}|[^\"'\n\\]){1,2}|[.w])\\x02\\x01\\x0[01].*"),
)


def without(text: str, instead: str) -> str:
    if "PRIVATE KEY-----" in text:
        text = _without_blocks(text, instead)
    for pattern in _DER:
        text = pattern.sub(instead, text)
    return text


def _without_blocks(text: str, instead: str) -> str:
    """A block may be cut off at either end, each line may have a prefix of the journal's, and the journal may be
    newest first: the lines next to a mark that look like a key are removed, in both directions."""
    lines = text.split("\n")
    marks = [number for number, line in enumerate(lines) if _MARK.search(line)]
    inside = {number for mark in marks for step in (-1, 1) for number in _beside(lines, mark, step)}
    for number in inside:
        lines[number] = _LAST.sub(f" {instead}", _INSIDE.sub(f" {instead}", lines[number]))
    for number in marks:
        lines[number] = _BLOCK.sub(instead, lines[number])
    return "\n".join(lines)


def _beside(lines: list[str], mark: int, step: int) -> list[int]:
    def at(number: int) -> str:
        return lines[number] if 0 <= number < len(lines) else ""

    number, found = mark + step, list[int]()
    if _LAST.search(at(number)) and _INSIDE.search(at(number + step)):
        found.append(number)
        number += step
    while _INSIDE.search(at(number)) and len(found) < _MOST:
        found.append(number)
        number += step
    return found
