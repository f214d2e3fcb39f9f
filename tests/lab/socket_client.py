"""A client of one of fairlead's sockets that runs as another user of the kernel."""

import asyncio
import os
import subprocess
from pathlib import Path

_CLIENT = """
import http.client, socket, sys
path, method, target, body = sys.argv[1:]
connection = http.client.HTTPConnection("agent")
connection.sock = socket.socket(socket.AF_UNIX)
try:
    connection.sock.connect(path)
except PermissionError:
    print("closed")
else:
    connection.request(method, target, body or None)
    print(connection.getresponse().status)
"""


async def answered(
    path: Path, method: str, target: str, body: str = "", *, user: int, group: int, groups: tuple[int, ...] = ()
) -> str:
    """The HTTP status; "closed" where the kernel refuses the connection."""
    done = await asyncio.to_thread(
        subprocess.run,
        ["/usr/bin/python3", "-I", "-c", _CLIENT, str(path), method, target, body],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        user=user,
        group=group,
        extra_groups=groups,
        env={**os.environ},
    )
    return str(done.stdout).strip()
