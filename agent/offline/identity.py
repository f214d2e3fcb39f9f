"""The identity verbs that work with the agent dead."""

from dataclasses import dataclass

from agent.adapters import anchors
from agent.config import Config, derived
from agent.core import anchors as core_anchors
from agent.core.reasons import Fault
from agent.host import Host, reading
from agent.ports import Trouble
from agent.privileged import Refusal
from agent.privileged.system import configuration as root_configuration


class Unconfigured(Exception):
    """Root's configuration cannot be used."""


def configuration(prefix: str) -> Config:
    """Root's own. Raises Unconfigured."""
    try:
        return root_configuration.read(Host.below(prefix).prefix)
    except Refusal as refusal:
        raise Unconfigured(refusal.detail) from None


@dataclass(frozen=True)
class AnchorSet:
    """One set of trust anchors in a file. `fault`: why there is none."""

    path: str
    digest: str = ""
    certificates: tuple[anchors.Described, ...] = ()
    fault: Fault | None = None


def anchor_sets(prefix: str) -> tuple[AnchorSet, AnchorSet | None]:
    """Those in force, and those that await root's approval. Raises Unconfigured."""
    host, config = Host.below(prefix), configuration(prefix)
    places = anchors.Places(derived.anchors_in_force(config, host.prefix), host.anchors_kept)
    mine = _anchor_set(places)
    if config.identity.anchors_source == "file" or reading.absent(places.kept):
        return mine, None
    kept = _anchor_set(anchors.Places((places.kept,), places.kept))
    return mine, None if kept.digest == mine.digest else kept


def _anchor_set(places: anchors.Places) -> AnchorSet:
    path = reading.present(places.in_force)
    try:
        certificates = anchors.in_force(places)
    except Trouble as trouble:
        return AnchorSet(str(path), fault=trouble.fault)
    return AnchorSet(
        str(path), core_anchors.digest(certificates), tuple(anchors.describe(der) for der in certificates)
    )
