"""A stand-in of systemd's socket activation: each connection becomes the standard input and output of a
privileged helper."""

import contextlib
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

from agent.adapters.helper import PROGRAM
from agent.host import Host as Paths
from tests.privileged.helper_requests import REPOSITORY
from tests.privileged.hosts import Host

AGENT = 2101


@contextlib.contextmanager
def helper_socket(host: Host, *around: str) -> Iterator[str]:
    """The path of the socket. `around`: the beginning of a command line that runs the privileged helper as its
    end."""
    path = Paths(host.prefix).helper_socket
    path.parent.mkdir(parents=True, exist_ok=True)
    command = host.space.command(*around, *PROGRAM, "--prefix", str(host.prefix))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        path.chmod(0o666)
        listener.listen()
        thread = threading.Thread(target=_serve, args=(listener, command))
        thread.start()
        try:
            yield str(path)
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
            path.unlink()


def with_user(folder: Path) -> tuple[str, ...]:
    """The privileged helper sees a host that has the agent's user."""
    passwd = folder / "passwd"
    passwd.write_text(f"{Path('/etc/passwd').read_text()}fairlead:x:{AGENT}:{AGENT}::/:/bin/false\n")
    return ("unshare", "--mount", "sh", "-c", 'mount --bind "$0" /etc/passwd; exec "$@"', str(passwd))


def _serve(listener: socket.socket, command: list[str]) -> None:
    helpers = []
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:  # shut down
            break
        with connection:
            environment = {"PYTHONPATH": str(REPOSITORY)}
            helpers.append(
                subprocess.Popen(command, stdin=connection.fileno(), stdout=connection.fileno(), env=environment)
            )
    for helper in helpers:
        helper.wait(10)
