"""The network of a scene: the host's namespace beside this one, a veth pair, and a route to the pods.

Made by the kernel for this process's private namespaces, and gone with them; nothing is to be cleaned up.
"""

import subprocess
from pathlib import Path

HOST_NAMESPACE = "host"
HOST, HOST6, CLUSTER, CLUSTER6 = "10.99.0.2", "fd99::2", "10.99.0.1", "fd99::1"
POD_NETWORK, POD = "10.42.0.0/16", "10.42.0.10"
ON_HOST = ("ip", "netns", "exec", HOST_NAMESPACE)

# Without duplicate address detection an IPv6 address is there at once.
_HERE = f"""\
link set lo up
netns add {HOST_NAMESPACE}
link add eth0 type veth peer name eth0 netns {HOST_NAMESPACE}
address add {CLUSTER}/24 dev eth0
address add {CLUSTER6}/64 dev eth0 nodad
address add {POD}/32 dev lo
link set eth0 up
"""
_THERE = f"""\
link set lo up
address add {HOST}/24 dev eth0
address add {HOST6}/64 dev eth0 nodad
link set eth0 up
route add {POD_NETWORK} via {CLUSTER}
"""


def build() -> None:
    """Raises CalledProcessError."""
    subprocess.run(["ip", "-batch", "-"], input=_HERE.encode(), check=True)
    subprocess.run(["ip", "-n", HOST_NAMESPACE, "-batch", "-"], input=_THERE.encode(), check=True)


def processes_on_host() -> list[str]:
    """pid and command line of every process in the host's namespace; the dead that nobody reaped count not."""
    listed = subprocess.run(["ip", "netns", "pids", HOST_NAMESPACE], capture_output=True, text=True, check=True)
    found = []
    for pid in listed.stdout.split():
        command = _command(int(pid))
        if command:
            found.append(f"{pid} {command}")
    return found


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""
