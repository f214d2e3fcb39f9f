"""The network of a scene: the host's namespace beside this one, a veth pair, and a route to the pods.

Made by the kernel for this process's private namespaces, and gone with them; nothing is to be cleaned up.
"""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Host:
    """A host's place: a namespace, and a link of its own to the cluster."""

    namespace: str
    number: int

    @property
    def link(self) -> str:
        return f"eth{self.number}"

    @property
    def address(self) -> str:
        return f"10.{99 + self.number}.0.2"

    @property
    def address6(self) -> str:
        return f"fd{0x99 + self.number:x}::2"

    @property
    def addresses(self) -> tuple[str, str]:
        return self.address, self.address6

    @property
    def cluster(self) -> str:
        return f"10.{99 + self.number}.0.1"

    @property
    def on_host(self) -> tuple[str, ...]:
        return ("ip", "netns", "exec", self.namespace)


FIRST, SECOND, THIRD = Host("host", 0), Host("second", 1), Host("third", 2)
HOST_NAMESPACE, ON_HOST = FIRST.namespace, FIRST.on_host
HOST, HOST6, CLUSTER, CLUSTER6 = FIRST.address, FIRST.address6, FIRST.cluster, "fd99::1"
POD_NETWORK, POD = "10.42.0.0/16", "10.42.0.10"


def build() -> None:
    """The cluster with a pod, and the first host. Raises CalledProcessError."""
    _batch([], f"link set lo up\naddress add {POD}/32 dev lo\n")
    add(FIRST)


def add(host: Host) -> None:
    """Without duplicate address detection an IPv6 address is there at once. Raises CalledProcessError."""
    here = f"""\
netns add {host.namespace}
link add {host.link} type veth peer name eth0 netns {host.namespace}
address add {host.cluster}/24 dev {host.link}
address add {host.address6[:-1]}1/64 dev {host.link} nodad
link set {host.link} up
"""
    there = f"""\
link set lo up
address add {host.address}/24 dev eth0
address add {host.address6}/64 dev eth0 nodad
link set eth0 up
route add {POD_NETWORK} via {host.cluster}
"""
    if host is not FIRST:
        there += f"route add {CLUSTER}/32 via {host.cluster}\n"
    _batch([], here)
    _batch(["-n", host.namespace], there)


def _batch(where: list[str], lines: str) -> None:
    subprocess.run(["ip", *where, "-batch", "-"], input=lines.encode(), check=True, env={**os.environ})


def processes_on_host() -> list[str]:
    """pid and command line of every process in the host's namespace; zombies do not count."""
    listed = subprocess.run(
        ["ip", "netns", "pids", HOST_NAMESPACE], capture_output=True, text=True, check=True, env={**os.environ}
    )
    processes = []
    for pid in listed.stdout.split():
        command = _command(int(pid))
        if command:
            processes.append(f"{pid} {command}")
    return processes


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""
