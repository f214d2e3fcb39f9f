"""The paths of a host, its clock and its loopback interface.

Law: every path of fairlead is named here and nowhere else; no file is opened but the kernel's boot id, and what
`reading` is told to read. Values of the standard library only.
"""

from __future__ import annotations

import os
import pwd

from agent.core import prepared
from agent.core.late import dataclass, field

TYPE_CHECKING = False  # type checkers know this name; that of `typing` takes long to load, and so does `pathlib`
if TYPE_CHECKING:
    from pathlib import Path
    from typing import Final

AGENT: Final = "fairlead"  # the agent's user
PUSHERS: Final = "fairlead-push"  # the group whose members may push heartbeats
# The sockets that commands ask, by `below`: `Host` has them as paths.
SOCKET: Final = "run/fairlead/fairlead.sock"
PUSH_SOCKET: Final = "run/fairlead-push/push.sock"
_BOOT_ID: Final = "/proc/sys/kernel/random/boot_id"


def boot_id() -> str:
    """New with each boot of this host."""
    with open(_BOOT_ID) as file:
        return file.read().strip()


def machine(prefix: Path) -> str:
    """Tells this machine from others without its machine-id: a hash of fairlead's own, as machine-id(5) asks.
    "" without a machine-id."""
    try:
        found = (prefix / "etc/machine-id").read_text(errors="replace").strip()
    except OSError:
        return ""
    usable = len(found) == 32 and found.isalnum()
    import hmac  # most programs do not ask

    return hmac.digest(found.encode(), b"fairlead.dev/machine", "sha256").hex()[:32] if usable else ""


CREDENTIALS: Final = "$CREDENTIALS_DIRECTORY/"


def credential(path: str) -> str:
    """The file that a path of the configuration names. `$CREDENTIALS_DIRECTORY/NAME` is a credential of this unit
    (LoadCredential=NAME); outside the unit, where only root looks, it is what systemd loads."""
    if not path.startswith(CREDENTIALS):
        return path
    return f"{os.environ.get('CREDENTIALS_DIRECTORY', '/etc/credstore')}/{path.removeprefix(CREDENTIALS)}"


def manifests() -> Path:
    """The files of config/cluster that belong to this version: of a checkout, else of the package."""
    checkout = _path(__file__).parents[2] / "config/cluster"
    return checkout if checkout.is_dir() else _path("/usr/share/doc/fairlead/config/cluster")


def agent_uid() -> int | None:
    """None: this host has no such user."""
    try:
        return pwd.getpwnam(AGENT).pw_uid
    except KeyError:
        return None


def below(prefix: str, path: str) -> str:
    """As on the command line: "" is this host."""
    return os.path.join(prefix or "/", path)


def _path(text: str = "/") -> Path:
    from pathlib import Path

    return Path(text)


@dataclass(frozen=True)
class Host:
    """`prefix`: before every path, so that one machine can hold several hosts."""

    prefix: Path = field(default_factory=_path)

    @classmethod
    def below(cls, prefix: str) -> Host:
        """As on the command line: "" is this host."""
        return cls(_path(prefix or "/"))

    # root's, below /etc and /var/lib

    @property
    def configuration(self) -> Path:
        return self.prefix / "etc/fairlead/fairlead.toml"

    @property
    def joined(self) -> Path:
        """The bundle with which this host joined last."""
        return self.state / "join-bundle"

    @property
    def traces(self) -> Path:
        """Of bugs that ended a verb of root's."""
        return self.prefix / "var/log/fairlead"

    @property
    def state(self) -> Path:
        return self.prefix / "var/lib/fairlead"

    @property
    def approved(self) -> Host:
        """The prefix of the configuration whose redirect was approved last."""
        return Host(self.state / "approved")

    @property
    def tried(self) -> Host:
        """The prefix of the configuration whose redirect is on trial."""
        return Host(self.state / "tried")

    @property
    def phase(self) -> Path:
        return self.state / "phase"

    @property
    def ready_once(self) -> Path:
        """The record that this host has been Ready since it was configured."""
        return self.state / "ready-once"

    @property
    def suspended(self) -> Path:
        """The record that the redirect is suspended, and why."""
        return self.state / "redirect-suspended"

    @property
    def redirected_ports(self) -> Path:
        return self.state / "redirected-ports"

    @property
    def exempt_ports(self) -> Path:
        return self.state / "exempt-ports"

    @property
    def trial(self) -> Path:
        """The record of rules on trial where the kernel has no timeouts."""
        return self.state / "trial"

    @property
    def proxy_versions(self) -> Path:
        return self.state / "proxy"

    @property
    def anchors_accepted(self) -> Path:
        """What an operator accepted, or what the agent found where `identity.anchors_follow` is set."""
        return self.state / "trust-anchors.pem"

    @property
    def helper_lock(self) -> Path:
        """Not below the agent's folder: its user could put another file there."""
        return self.prefix / "run/fairlead-helper.lock"

    @property
    def helper_socket(self) -> Path:
        """The socket of the privileged helper, in a folder of root: systemd gives it an owner by its name."""
        return self.prefix / "run/fairlead-helper/helper.sock"

    @property
    def prepared(self) -> Path:
        """What root leaves for the next restart of the proxy, until this host's next boot."""
        return self.prefix / prepared.FOLDER

    @property
    def active_slot(self) -> Path:
        """The record of the slot that the redirect names, until this host's next boot; absent: main."""
        return self.prefix / prepared.SLOT

    @property
    def slot_addresses(self) -> Path:
        """The record that there are addresses of slots on lo."""
        return self.prefix / "run/fairlead-slot-addresses"

    # the agent's

    @property
    def agent_state(self) -> Path:
        return self.state / "agent"

    @property
    def anchors_kept(self) -> Path:
        """What the agent found. Root reads it when it is accepted or followed; the proxy never does."""
        return self.agent_state / "trust-anchors.pem"

    @property
    def replacement(self) -> Path:
        return self.agent_state / "replacement.json"

    @property
    def agent_run(self) -> Path:
        return self.prefix / "run/fairlead"

    @property
    def socket(self) -> Path:
        """The status socket."""
        return self.prefix / SOCKET

    @property
    def push_socket(self) -> Path:
        """The socket on which applications push heartbeats, and nothing else. The setgid folder gives it the group
        of those who may."""
        return self.prefix / PUSH_SOCKET

    @property
    def agent_lock(self) -> Path:
        return self.agent_run / "agent.lock"

    @property
    def child_proxy(self) -> Path:
        """The record of a proxy that the agent itself started."""
        return self.agent_run / "proxy.json"

    @property
    def child_proxy_log(self) -> Path:
        return self.prefix / "var/log/fairlead/proxy.log"

    @property
    def child_standby(self) -> Path:
        """The same of the second slot."""
        return self.agent_run / "proxy-standby.json"

    @property
    def child_standby_log(self) -> Path:
        return self.prefix / "var/log/fairlead/proxy-standby.log"

    @property
    def token(self) -> Path:
        """Where the agent puts the service account's token for the proxy's user."""
        return self.prefix / "run/fairlead-token/token"

    # the proxy's

    @property
    def proxy_run(self) -> Path:
        return self.prefix / "run/fairlead-proxy"

    @property
    def gate(self) -> Path:
        """The record of the identity gate; absent while the gate is open."""
        return self.proxy_run / "gate.json"

    @property
    def standby_gate(self) -> Path:
        """The same of the second slot."""
        return self.prefix / "run/fairlead-proxy-standby/gate.json"

    @property
    def proxy_identity(self) -> Path:
        """Where the proxy's user makes its key and its request for a certificate, in token mode."""
        return self.proxy_run / "identity"
