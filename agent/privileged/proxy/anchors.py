"""Makes trust anchors that the agent found the proxy's.

The agent may be compromised, so its file is only a proposal. Root accepts exactly the set of certificates with the
digest that root saw, not what the file may contain now. The agent's own request is carried out only where root's
configuration says that what it found is followed.
"""

import ssl
from pathlib import Path

from agent.core import anchors, text_files
from agent.core.reason import Reason
from agent.host import Host, reading
from agent.privileged import Refusal
from agent.privileged.system import configuration, files


def accept(prefix: Path, digest: str) -> dict[str, object]:
    """Raises Refusal."""
    path = Host(prefix).anchors_kept
    certificates = _certificates(path)
    if anchors.digest(certificates) != digest:
        raise Refusal(f"cannot accept {digest[:12]}: {path} holds {anchors.digest(certificates)[:12]} now")
    with files.lock(prefix):
        files.write(Host(prefix).anchors_accepted, anchors.pem(certificates))
    return {"digest": digest, "certificates": len(certificates)}


def follow(prefix: Path, digest: str) -> dict[str, object]:
    """Raises Refusal."""
    identity = configuration.read(prefix).identity
    if not identity.anchors_follow or identity.anchors_source == "file":
        file = Host(prefix).configuration
        detail = (
            f"cannot follow {digest[:12]}: {file} does not set identity.anchors_follow and a source of anchors"
        )
        raise Refusal(detail, Reason.HELPER_REFUSED)
    return accept(prefix, digest)


def _certificates(path: Path) -> tuple[bytes, ...]:
    try:
        certificates = anchors.certificates(text_files.armour(reading.read(path, files.MOST)))
        for der in certificates:  # one at a time: OpenSSL stops at the first that it knows already
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=der)
    except OSError as error:  # an SSLError is an OSError
        raise Refusal(f"cannot read {path}: {error.strerror or error}") from None
    except ValueError as error:
        raise Refusal(f"cannot use {path}: {error}") from None
    return certificates
