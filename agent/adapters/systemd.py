"""The service manager's side of sd_notify(3): datagrams to $NOTIFY_SOCKET."""

import os
import socket
from collections.abc import Mapping


class SystemdNotifier:
    """Implements ports.Notifier. Without NOTIFY_SOCKET it says nothing."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        address = environment.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address

    def notify(self, *lines: str) -> str:
        if not self._address:
            return ""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.setblocking(False)  # a manager that reads nothing must not stop the agent
            try:
                sender.connect(self._address)
                sender.sendall("\n".join(lines).encode())
            except OSError as error:
                return str(error.strerror)
        return ""


def watchdog_seconds(environment: Mapping[str, str]) -> float | None:
    """The manager's WatchdogSec, if it is meant for this process; None if there is none."""
    microseconds, pid = environment.get("WATCHDOG_USEC", ""), environment.get("WATCHDOG_PID", "")
    if not microseconds.isdecimal() or (pid and pid != str(os.getpid())):
        return None
    return int(microseconds) / 1_000_000
