"""fairlead shutdown-drain"""

import argparse
import time

from agent.cli.kit.arguments import prefix_argument
from agent.cli.kit.client import Client
from agent.cli.kit.configuration import load
from agent.cli.kit.exits import Exit, Failure
from agent.cli.kit.follow import watch
from agent.host import Host

DESCRIPTION = """\
Drains this host as `fairlead drain` does, but does not record it: after a reboot the host serves again. A running
agent does the drain; without one this command does it, so it needs no unit that the shutdown may have stopped
already. It waits drain.timeout at most, and does nothing on a host that has left the mesh.

  sudo fairlead shutdown-drain  as fairlead-drain.service does at shutdown

Exit 0: drained; 75: drain.timeout has expired, and the shutdown continues."""

DOING = "drain this host"


def arguments(parser: argparse.ArgumentParser) -> None:
    prefix_argument(parser)
    parser.add_argument("--json", action="store_true", help="each step as one line of JSON, while the agent runs")


def run(args: argparse.Namespace) -> int:
    config = load(Host.below(args.prefix).configuration)
    args.timeout, args.no_wait = config.drain.timeout, False
    deadline = time.monotonic() + config.drain.timeout
    try:
        return _by_the_agent(args)
    except Failure as failure:
        if failure.code is Exit.LATE:
            raise Failure(Exit.LATE, failure.message, "the shutdown continues") from None
        if failure.code is not Exit.UNAVAILABLE:
            raise
    from agent.offline import shutdown

    rest = max(0.0, deadline - time.monotonic())
    if shutdown.drain(config, args.prefix, rest, lambda step: print(step, flush=True)):
        return Exit.OK
    raise Failure(Exit.LATE, f"cannot {DOING} within {config.drain.timeout:g} s", "the shutdown continues")


def _by_the_agent(args: argparse.Namespace) -> int:
    """Raises Failure: Exit.UNAVAILABLE if there is no agent, or it ended during the drain."""
    client = Client(args.prefix, DOING, timeout=15.0)
    status = client.status()
    if status["phase"] == "left":
        return Exit.OK
    return watch(client, client.phase("shutting-down"), args, DOING, lambda answer: bool(answer["drained"]))
