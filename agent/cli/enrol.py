"""fairlead enrol"""

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.cli.kit import host_arguments, operator
from agent.cli.kit.exits import Exit, Failure
from agent.core import numbers

if TYPE_CHECKING:
    from agent.cluster.enrolment.main import Enrolled
    from agent.cluster.enrolment.mesh import Given
    from agent.cluster.enrolment.order import Order
    from agent.core.enrol.joining import Choices
    from agent.core.enrol.spire import Entry

DESCRIPTION = """\
Run by an operator, with kubectl's rights. Creates the ExternalWorkload, the Lease, and the right of the host to
write about itself; writes the join bundle for `fairlead join`; prints the entries that SPIRE needs. The bundle
holds no secret. A second run, or a run after one that was broken off, completes what is missing. Values that are
not given are those of the existing ExternalWorkload.

  fairlead enrol db-1 -n shop --address 192.0.2.10 --identity spiffe://root.linkerd.cluster.local/{name} \\
    --port app=5432 --label app=db --pod-network 10.42.0.0/16 --bundle db-1.bundle
  fairlead enrol db-2 -n shop --group db --address 192.0.2.11

Refused: an address or identity that another ExternalWorkload or a pod has; another host of this name, unless
--replace. --dry-run -o yaml prints the objects and changes nothing."""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="of the ExternalWorkload")
    operator.arguments(parser)
    parser.add_argument(
        "--group", default="", metavar="NAME", help="a WorkloadGroup: what is not given is as there"
    )
    host_arguments.add(parser)
    _bundle_arguments(parser.add_argument_group("the join bundle; what is not given is found out from here"))
    spire = parser.add_argument_group("SPIRE's entries")
    spire.add_argument("--spire-parent", default="", metavar="SPIFFE-ID", help="of the host's SPIRE agent")
    spire.add_argument("--spire-by", choices=["user", "unit"], default="user", help="selectors (default: user)")
    parser.add_argument("--replace", action="store_true", help="the host of this name may get another address")
    parser.add_argument("--force", action="store_true", help="take over fields that another manager set")
    parser.add_argument("--dry-run", action="store_true", help="print the objects, and change nothing")
    parser.add_argument("-o", dest="output", choices=["yaml", "json"], default="", help="how to print")


def _bundle_arguments(group: Any) -> None:
    group.add_argument("--bundle", metavar="FILE", help='default: NAME.bundle; "-": standard output')
    group.add_argument(
        "--pod-network", action="append", default=[], metavar="CIDR", help="of the cluster; repeatable"
    )
    group.add_argument(
        "--service-network", action="append", default=[], metavar="CIDR", help="of the cluster; repeatable"
    )
    group.add_argument("--audience", default="kubernetes", help="of JWT-SVIDs (default: kubernetes)")
    group.add_argument("--api-server", default="", metavar="URL", help="as hosts reach it")
    group.add_argument("--api-ca", default="", metavar="FILE", help="PEM of its authority")
    group.add_argument("--anchors", default="", metavar="FILE", help="PEM of the mesh's trust anchors")
    group.add_argument("--linkerd-namespace", default="linkerd", metavar="NAMESPACE", help="default: linkerd")
    group.add_argument("--cluster-domain", default="", metavar="DOMAIN", help="of the cluster's DNS")
    group.add_argument("--trust-domain", default="", metavar="DOMAIN", help="of Linkerd's control plane")
    group.add_argument("--workload-api", default="", metavar="PATH", help="of SPIRE's socket on the host")
    group.add_argument(
        "--destination", default="", metavar="HOST:PORT", help="of Linkerd's controller, without DNS"
    )
    group.add_argument("--policy", default="", metavar="HOST:PORT", help="of Linkerd's controller, without DNS")
    group.add_argument(
        "--lease-period",
        type=_period,
        default=0,
        metavar="SECONDS",
        help="between two renewals of the host's Lease",
    )
    group.add_argument(
        "--exempt", action="append", default=[], metavar="ADDRESS:PORT", help="never redirected; repeatable"
    )


def _period(text: str) -> int:
    """As api.lease_period of the host's configuration may be."""
    period = numbers.whole(text)
    if period is None or not 5 <= period <= 60:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from 5 to 60")
    return period


def run(args: argparse.Namespace) -> int:
    from agent.cluster.enrolment import main

    given, order, way = _given(args), _order(args), main.Way(args.kubeconfig, args.context)
    with operator.failures(f"enrol {args.namespace}/{args.name}"):
        if args.dry_run:
            operator.show_objects(main.planned(way, order, given), args.output)
            return Exit.OK
        choices = _choices(args)
        done = main.enrol(way, order, given, choices, lambda line: print(f"applied {line}", file=sys.stderr))
    file = args.bundle or f"{args.name}.bundle"
    _write(file, done.bundle.text)
    _show(args, done, file)
    return Exit.OK


def _order(args: argparse.Namespace) -> "Order":
    from agent.cluster.enrolment.order import Order

    return Order(
        name=args.name,
        namespace=args.namespace,
        addresses=tuple(args.address),
        identity=args.identity,
        server_name=args.server_name,
        ports=tuple(args.port),
        labels=dict(args.label),
        api_identity=args.api_identity,
        account=args.account,
        force=args.force,
        replace=args.replace,
        group=args.group,
    )


def _given(args: argparse.Namespace) -> "Given":
    from agent.cluster.enrolment.mesh import Given

    return Given(
        linkerd=args.linkerd_namespace,
        server=args.api_server,
        authority=_pem(args.api_ca),
        anchors=_pem(args.anchors),
        cluster_domain=args.cluster_domain,
        trust_domain=args.trust_domain,
        service_networks=tuple(args.service_network),
    )


def _choices(args: argparse.Namespace) -> "Choices":
    from agent.core.enrol.joining import SOCKET, Choices

    return Choices(
        pod_networks=tuple(args.pod_network),
        audience=args.audience,
        workload_api=args.workload_api or SOCKET,
        exempt=tuple(args.exempt),
        destination=args.destination,
        policy=args.policy,
        lease_period=args.lease_period,
    )


def _show(args: argparse.Namespace, done: "Enrolled", file: str) -> None:
    from agent.core.enrol import spire

    parent = args.spire_parent or spire.usual_parent(done.host)
    entries = list(spire.entries(done.host, parent, spire.By(args.spire_by)))
    if args.output:
        report = {
            "workload": done.host.label,
            "user": done.host.user,
            "bundle": file,
            "fingerprint": done.bundle.fingerprint,
            "requests": done.requests,
            "entries": [entry.json for entry in entries],
        }
        operator.show(report, args.output)
    elif file != "-":
        print("\n".join(_lines(done, file, entries)))


def _lines(done: "Enrolled", file: str, entries: "Iterable[Entry]") -> Iterable[str]:
    yield "on SPIRE's server (as JSON for `spire-server entry create -data`: -o json):"
    yield from (f"  {entry.command}" for entry in entries)
    if done.host.account:
        account = f"kubectl -n {done.host.namespace} create token {done.host.role} --duration 24h"
        yield f"on the host, into /etc/fairlead/token, the output of: {account}"
    yield f"on the host, with {file} copied there:"
    yield f"  fairlead join {Path(file).name} --fingerprint {done.bundle.fingerprint}"


def _write(file: str, text: str) -> None:
    if file == "-":
        print(text, end="")
        return
    try:
        Path(file).write_text(text)
    except OSError as error:
        remedy = "name another file: --bundle FILE; the objects are written, and the command may be repeated"
        raise Failure(Exit.FAILED, f"cannot write {file}: {error.strerror}", remedy) from None


def _pem(file: str) -> str:
    return operator.read(file) if file else ""
