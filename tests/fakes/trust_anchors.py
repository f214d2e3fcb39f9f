"""TrustAnchors in memory. Certificates are plain words here: a set covers a chain whose last word it holds."""

from agent.core.reasons import Reason
from agent.ports import Certificates, Trouble


class MemoryTrustAnchors:
    """`mine`, `offer`: the anchors, or the reason why there are none. `follow`: what is kept is in force."""

    def __init__(self, *mine: bytes, follow: bool = False) -> None:
        self.mine: Certificates | Reason = mine
        self.offer: Certificates | Reason | None = None
        self.keeps: Reason | None = None
        self.kept: list[Certificates] = []
        self.asked: list[Certificates] = []
        self.ends = 1e9  # seconds since the epoch, of every anchor
        self._follow = follow

    async def in_force(self) -> Certificates:
        return _or_trouble(self.kept[-1] if self._follow and self.kept else self.mine)

    async def offered(self, bundle: Certificates) -> Certificates | None:
        self.asked.append(bundle)
        return None if self.offer is None else _or_trouble(self.offer)

    async def keep(self, found: Certificates) -> None:
        if self.keeps is not None:
            raise Trouble(self.keeps)
        self.kept.append(found)

    def covered_until(self, found: Certificates, chain: Certificates) -> float | None:
        return self.ends if not chain or chain[-1] in found else None


def _or_trouble(found: Certificates | Reason) -> Certificates:
    if isinstance(found, Reason):
        raise Trouble(found, "as told")
    return found
