"""Whether a TLS server answers a hello that is longer than one segment of TCP.

On a path that loses packets of full size, and the ICMP message about them, a connection opens, and what is short
is answered: only this tells.
"""

import asyncio
import ssl
from typing import Final

from agent.core.doctor.network import Hello

SIZE: Final = 4000  # bytes of names of protocols in the hello: three segments of Ethernet
_NAME: Final = "x" * 200
_WITHIN: Final = 2.5  # seconds for an answer


async def ask(host: str, port: int, within: float = _WITHIN) -> Hello:
    """An alert is an answer too."""
    place, size = f"{host}:{port}", SIZE
    try:
        async with asyncio.timeout(within):
            reader, writer = await asyncio.open_connection(host, port)
    except TimeoutError:
        return Hello(place, size, answered=False, detail="no connection")
    except OSError as error:
        return Hello(place, size, answered=False, detail=f"no connection: {error.strerror or error}")
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = _context().wrap_bio(incoming, outgoing)
    try:
        tls.do_handshake()
    except ssl.SSLWantReadError:
        writer.write(outgoing.read())
    try:
        async with asyncio.timeout(within):
            return Hello(place, size, answered=bool(await reader.read(1)), detail="it closed the connection")
    except TimeoutError:
        return Hello(place, size, answered=False)
    except OSError as error:
        return Hello(place, size, answered=False, detail=error.strerror or str(error))
    finally:
        writer.transport.abort()


def _context() -> ssl.SSLContext:
    """Nothing is sent but the hello, so no server has to prove anything."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols([_NAME] * (SIZE // len(_NAME)))
    return context
