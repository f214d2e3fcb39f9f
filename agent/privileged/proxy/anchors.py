"""Makes trust anchors that the agent found the proxy's, once root has named them by their digest.

The agent may be compromised, so its file is only a proposal. Root accepts exactly the set of certificates with the
digest that root saw, not what the file may contain now.
"""

import os
import ssl
import stat
from pathlib import Path

from agent.core import anchors, text_files
from agent.host import Host
from agent.privileged import Refusal
from agent.privileged.system import files


def accept(prefix: Path, digest: str) -> dict[str, object]:
    """Raises Refusal."""
    path = Host(prefix).anchors_kept
    found = _certificates(path)
    if anchors.digest(found) != digest:
        raise Refusal(f"cannot accept {digest[:12]}: {path} holds {anchors.digest(found)[:12]} now")
    with files.lock(prefix):
        files.write(Host(prefix).anchors_accepted, anchors.pem(found))
    return {"digest": digest, "certificates": len(found)}


def _certificates(path: Path) -> tuple[bytes, ...]:
    try:
        found = anchors.certificates(_read(path))
        for der in found:  # one at a time: OpenSSL stops at the first that it knows already
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=der)
    except OSError as error:  # an SSLError is an OSError
        raise Refusal(f"cannot read {path}: {error.strerror or error}") from None
    except ValueError as error:
        raise Refusal(f"cannot use {path}: {error}") from None
    return found


def _read(path: Path) -> str:
    """Of the agent's file, if it is a regular file: a link could lead anywhere, a pipe would block."""
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise Refusal(f"cannot read {path}: not a regular file")
        return text_files.armour(file.read(files.MOST))
