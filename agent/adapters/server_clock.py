"""The clock of an HTTPS server, by the Date of an answer.

Law: the server proves its name by the configured authority, only not when: a wrong clock here makes every
certificate look expired. No credential is sent, and any answer will do.
"""

import email.utils
import ssl
from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

from agent.adapters import http_client
from agent.adapters.http_client import Broken, Request, Server

_NO_CHECK_TIME: Final = 0x200000  # X509_V_FLAG_NO_CHECK_TIME (x509_vfy.h); Python names none such


class Unread(Exception):
    """The cause."""


async def ahead(url: str, authority: str, now: Callable[[], float], name: str = "") -> float:
    """Seconds that the server's clock is ahead of `now`, in whole seconds. `authority`: PEM. Raises Unread."""
    place = urlsplit(url)
    try:
        server = Server(place.hostname or "", place.port or 443, _context(authority), name)
        connection = await http_client.connect(server)
    except (OSError, ValueError) as error:
        raise Unread(f"{url}: {_cause(error)}") from None
    try:
        asked = now()
        answer = await connection.send(Request("GET", "/version", {"Host": place.netloc.rpartition("@")[2]}))
        told = email.utils.parsedate_to_datetime(answer.headers.get("date", ""))
    except (Broken, OSError) as error:
        raise Unread(f"{url}: {error}") from None
    except ValueError:
        raise Unread(f"{url} sends no Date") from None
    finally:
        connection.abort()
    return _difference(told.timestamp(), asked, now())


def _difference(told: float, asked: float, answered: float) -> float:
    """The Date is of some moment between, cut to a second: 0 where the clocks may agree."""
    if told + 1 < asked:
        return told + 1 - asked
    return max(0.0, told - answered)


def _context(authority: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.verify_flags = ssl.VerifyFlags(
        int(context.verify_flags) | int(ssl.VERIFY_X509_PARTIAL_CHAIN) | _NO_CHECK_TIME
    )
    context.load_verify_locations(cadata=authority)
    return context


def _cause(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    return getattr(error, "strerror", None) or str(error)
