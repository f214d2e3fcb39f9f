"""fairlead watcher"""

import argparse
import os
import secrets
import socket
from collections.abc import Sequence

from agent.cli.kit.exits import Exit, Failure
from agent.core.watch.election import Terms
from agent.core.watch.limits import Limits

DESCRIPTION = """\
Runs in the cluster, not on a host. A host that died cannot report it: the watcher observes the Lease of every
host, and where one is not renewed for its whole duration, sets Ready to Unknown (HostUnreachable), so that the
host gets no more requests. The host's agent sets it back after its next renewal. When most hosts of a zone are
silent together, the watcher slows down, and when all are, it writes nothing.
config/cluster/watcher.yaml runs two replicas of it; one writes. See docs/watcher.md.

  fairlead watcher --kubeconfig FILE  outside the cluster, to try it"""

_D = Limits()
# Each number of Limits that may be set: its option, and why one would.
NUMBERS = {
    "look_every": "seconds between two readings of all Leases (default: %(default)g)",
    "shortest": "seconds for which every host may be silent, whatever its Lease says (default: %(default)g)",
    "longest": "seconds after which every silent host is marked, whatever its Lease says (default: %(default)g)",
    "guard_from": "silent hosts in a zone from which its pace is reduced (default: %(default)g)",
    "guard_enters": "share of silent hosts from which the pace of a zone is reduced (default: %(default)g)",
    "guard_leaves": "share below which the pace of a zone is normal again (default: %(default)g)",
    "slow_every": "seconds from one marked host to the next at the reduced pace (default: %(default)g)",
    "per_second": "marked hosts in a second at the normal pace (default: %(default)g)",
}


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-n",
        "--namespace",
        action="append",
        default=[],
        metavar="NAMESPACE",
        help="watch this namespace; may be repeated (default: all namespaces)",
    )
    parser.add_argument("--kubeconfig", metavar="FILE", help="authenticate as FILE says (default: as this pod)")
    parser.add_argument("--context", default="", help="the context in it (default: its current one)")
    parser.add_argument(
        "--lease-namespace",
        default=os.environ.get("POD_NAMESPACE", "fairlead-system"),
        metavar="NAMESPACE",
        help="namespace of the watcher's own Lease (default: POD_NAMESPACE, else fairlead-system)",
    )
    parser.add_argument(
        "--listen",
        type=_address,
        default=("0.0.0.0", 9990),
        metavar="ADDRESS:PORT",
        help="where /livez, /readyz and /metrics are served (default: 0.0.0.0:9990)",
    )
    for name, text in NUMBERS.items():
        kind = type(getattr(_D, name))
        option = "--" + name.replace("_", "-")
        parser.add_argument(option, type=kind, default=getattr(_D, name), metavar="NUMBER", help=text)
    parser.add_argument("--log", choices=["text", "json"], default="text", help="form of the log (default: text)")


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not ADDRESS:PORT")
    return host.strip("[]"), int(port)


def run(args: argparse.Namespace) -> int:
    from agent.cluster.watcher import process

    try:
        limits = Limits(**{name: getattr(args, name) for name in NUMBERS})
    except ValueError as error:
        raise Failure(Exit.USAGE, f"cannot watch: {error}", "see: fairlead watcher --help") from None
    credential = (
        process.kubeconfig(args.kubeconfig, args.context) if args.kubeconfig else process.in_cluster(os.environ)
    )
    if credential is None:
        remedy = "run it in a pod (config/cluster/watcher.yaml), or name a file: --kubeconfig FILE"
        raise Failure(Exit.UNAVAILABLE, "cannot watch: this is not a pod", remedy)
    settings = process.Settings(
        credential, _scopes(args.namespace), args.lease_namespace, _me(), args.listen, limits, Terms()
    )
    try:
        process.run(settings, json_log=args.log == "json")
    except OSError as error:
        where = "{}:{}".format(*args.listen)
        raise Failure(Exit.UNAVAILABLE, f"cannot listen on {where}: {error.strerror}", "choose --listen") from None
    return Exit.OK


def _scopes(namespaces: Sequence[str]) -> Sequence[str]:
    return tuple(dict.fromkeys(namespaces)) or ("",)


def _me() -> str:
    """Another one for each process: a replica that was started again must not take the Lease of its predecessor,
    which may still run, for its own."""
    return f"{socket.gethostname()}_{secrets.token_hex(4)}"
