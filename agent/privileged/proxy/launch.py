"""The next start of the proxy: binary, environment and user, from root-owned files alone."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from agent.config import derived
from agent.core import proxy, text_files
from agent.core.late import dataclass
from agent.core.proxy import ProxySettings
from agent.core.reason import Reason
from agent.core.slots import Slot
from agent.host import reading
from agent.privileged import Refusal
from agent.privileged.proxy import versions
from agent.privileged.system import configuration, files


@dataclass(frozen=True)
class Launch:
    binary: str
    environment: Mapping[str, str]
    uid: int


def plan(prefix: Path, version: str = "", slot: Slot = Slot.MAIN) -> Launch:
    """What would be started in this slot now, or once that version is the current one. Raises Refusal,
    proxy.Refused, OSError, KeyError (no such user)."""
    config = configuration.read(prefix)
    if slot is Slot.STANDBY:
        version = version or versions.linked(prefix, versions.STANDBY)
    uid, _ = derived.proxy_owner(config)
    anchors = _anchors(derived.anchors_in_force(config, prefix))
    # The symlink is resolved, so that the command line shows the version.
    binary = os.path.realpath(derived.proxy_binary(config, str(prefix), version))
    return Launch(binary, proxy.environment(settings(prefix, version, slot), anchors), uid)


def settings(prefix: Path, version: str = "", slot: Slot = Slot.MAIN) -> ProxySettings:
    """Those of that plan. Raises Refusal."""
    return derived.proxy_settings(configuration.read(prefix), str(prefix), version, slot)


def _anchors(places: Sequence[Path]) -> str:
    """The first that is there. Raises Refusal."""
    try:
        return text_files.armour(files.read_bytes(reading.present(places)))
    except Refusal as refusal:
        raise Refusal(refusal.detail, Reason.TRUST_ANCHORS_UNUSABLE) from None
