"""Text from files of people and their editors: with or without a byte order mark, with any line ends."""

import codecs

_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def text(raw: bytes) -> str:
    """Without its byte order mark. Bytes that are not text are replaced."""
    return raw.decode("utf-16" if raw.startswith(_UTF_16) else "utf-8-sig", "replace")


def armour(raw: bytes) -> str:
    """For PEM: what is not ASCII can only be in a comment, and is left out."""
    return text(raw).encode("ascii", "ignore").decode()
