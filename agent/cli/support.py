"""fairlead support"""

import argparse
import os
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from agent.cli.kit.arguments import prefix_argument
from agent.cli.kit.exits import Exit, Failure, complain

if TYPE_CHECKING:
    from agent.offline.support.part import Piece

DESCRIPTION = """\
Collects status and doctor, the configuration, the journal of fairlead's units, the redirect's rules, the proxy's
metrics and environment, routes, sockets and versions into one archive: tar.gz, mode 0600, at most 10 MiB. It
works while the agent is dead and the API server is unreachable; a part that cannot be read is named in
contents.txt. Keys, tokens, Authorization headers and passwords in URLs are removed. Addresses and names stay:
look into it before you send it.

  sudo fairlead support                    list every file and its size, ask, and write
  sudo fairlead support --yes -o host.tgz  without a question

Without root, what only root can read is missing."""


def arguments(parser: argparse.ArgumentParser) -> None:
    prefix_argument(parser)
    parser.add_argument(
        "-o", dest="output", default="", metavar="FILE", help="a new file; default: named by host and time"
    )
    parser.add_argument("--yes", action="store_true", help="write without a question")


def run(args: argparse.Namespace) -> int:
    from agent.offline.support import bundle, collect

    now = time.time()
    name = f"fairlead-support-{socket.gethostname()}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime(now))}"
    path = Path(args.output or f"{name}.tar.gz")
    if os.path.lexists(path):
        raise Failure(Exit.FAILED, f"cannot write {path}: it exists", "name a new file with -o")
    if os.geteuid() != 0:
        complain("not root: the live rules, the journal and others' sockets may be missing", "run it with sudo")
    pieces = collect.collect(args.prefix)
    archive = bundle.packed(pieces, name, now)
    _list(pieces)
    if len(archive) > bundle.MOST:
        raise Failure(Exit.FAILED, f"cannot write {path}: {len(archive)} bytes are more than {bundle.MOST}")
    if not (args.yes or _agreed(f"write {path}, {_size(len(archive))}?")):
        raise Failure(Exit.FAILED, f"cannot write {path}: not confirmed", "to write it without a question: --yes")
    try:
        bundle.write(path, archive)
    except bundle.Unwritable as error:
        raise Failure(Exit.FAILED, f"cannot write {path}: {error}", "name another file with -o") from None
    print(f"wrote {path}, {_size(len(archive))}; look into it before you send it")
    return Exit.OK


def _list(pieces: "Sequence[Piece]") -> None:
    for piece in pieces:
        if piece.content:
            print(f"{_size(len(piece.content)):>10}  {piece.name:<30}  {piece.source}")
    for piece in pieces:
        if piece.trouble:
            print(f"{'cut' if piece.content else 'missing':>10}  {piece.name:<30}  {piece.trouble}")


def _size(count: int) -> str:
    return f"{count} B" if count < 1024 else f"{count / 1024:.0f} KiB"


def _agreed(question: str) -> bool:
    if not sys.stdin.isatty():
        return False
    print(f"{question} [y/N] ", end="", flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
