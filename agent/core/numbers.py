"""Numbers that others wrote. Text and JSON may hold NaN, an infinity, 400 digits or an exponent that overflows.

Law: a number from outside is finite and in a range before anything computes with it; otherwise it is None.
"""

LATEST = 253402300799.0  # 9999-12-31T23:59:59Z, in seconds since the epoch: no datetime is later
_DIGITS = 18
_LENGTH = 40  # characters of a number that is text


def number(value: object, least: float, most: float) -> float | None:
    """From a number or its text."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if isinstance(value, str) and len(value) > _LENGTH:
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if least <= found <= most else None  # not NaN, which compares with nothing


def moment(value: object) -> float | None:
    """Seconds since the epoch."""
    return number(value, 0.0, LATEST)


def whole(text: str) -> int | None:
    """From decimal digits alone."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= _DIGITS else None
