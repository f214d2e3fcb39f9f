"""The mesh's trust anchors: files that hold them, and where others may come from."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from agent.adapters import files, x509_chains
from agent.core import anchors, text_files
from agent.core.reasons import Reason
from agent.host import reading
from agent.ports import Certificates, Trouble

MOST = 1 << 20  # bytes of a file of anchors


@dataclass(frozen=True)
class Places:
    """`in_force`: the first of these that exists. `kept`: where the agent keeps what it found, for root to
    accept."""

    in_force: tuple[Path, ...]
    kept: Path


class HostAnchors:
    """Implements ports.TrustAnchors. `fetch`: the PEM that the cluster has; None: it is not asked. `bundled`: the
    Workload API's bundle is the source. `follow`: has root put in force what is kept, by its digest; None: an
    operator does."""

    def __init__(
        self,
        places: Places,
        fetch: Callable[[], Awaitable[str]] | None = None,
        *,
        bundled: bool = False,
        follow: Callable[[str], Awaitable[object]] | None = None,
    ) -> None:
        self._places, self._fetch, self._bundled, self._follow = places, fetch, bundled, follow

    async def in_force(self) -> Certificates:
        return await asyncio.to_thread(in_force, self._places)

    async def offered(self, bundle: Certificates) -> Certificates | None:
        if self._bundled:
            return bundle or None
        return None if self._fetch is None else _checked(await self._fetch(), "the cluster's ConfigMap")

    async def keep(self, certificates: Certificates) -> None:
        try:
            await asyncio.to_thread(files.write_atomically, self._places.kept, anchors.pem(certificates))
        except OSError as error:
            detail = f"cannot write {self._places.kept}: {error.strerror}"
            raise Trouble(Reason.TRUST_ANCHORS_UNWRITABLE, detail) from error
        if self._follow is not None:
            await self._follow(anchors.digest(certificates))

    def covered_until(self, certificates: Certificates, chain: Certificates) -> float | None:
        return x509_chains.covered_until(certificates, chain)


def in_force(places: Places) -> Certificates:
    """Raises Trouble (TRUST_ANCHORS_UNUSABLE)."""
    path = reading.present(places.in_force)
    try:
        found = reading.read(path, MOST, links=path != places.kept)
        return _checked(text_files.armour(found), str(path))
    except OSError as error:
        raise Trouble(Reason.TRUST_ANCHORS_UNUSABLE, f"cannot read {path}: {error.strerror}") from error


def _checked(pem: str, where: str) -> Certificates:
    """Every certificate of it can be read. Raises Trouble."""
    try:
        certificates = anchors.certificates(pem)
        for der in certificates:
            x509_chains.load(der)
    except ValueError as error:
        raise Trouble(Reason.TRUST_ANCHORS_UNUSABLE, f"cannot use {where}: {error}") from error
    return certificates


@dataclass(frozen=True)
class Described:
    """A certificate for people. `not_after`: seconds since the epoch."""

    subject: str
    not_after: float
    sha256: str


def describe(der: bytes) -> Described:
    certificate = x509_chains.load(der)
    digest = hashlib.sha256(der).hexdigest()
    return Described(certificate.subject.rfc4514_string(), certificate.not_valid_after_utc.timestamp(), digest)
