"""fairlead manifest"""

import argparse
import json
from collections.abc import Iterator, Sequence

from agent.cli.kit import host_arguments, operator
from agent.cli.kit.exits import Exit, Failure, complain
from agent.core.enrol import group, manifests, request
from agent.core.enrol.group import Group
from agent.core.enrol.manifests import Part
from agent.core.enrol.request import Host, Problem

DESCRIPTION = """\
Prints the ExternalWorkload of a host and a Service; with --client also a Server for each port, a
MeshTLSAuthentication with the clients' exact identities, and AuthorizationPolicies. Each has a comment that says
what it is for. It asks no cluster and changes nothing:

  fairlead manifest db-1 -n shop --address 192.0.2.10 --identity spiffe://root.linkerd.cluster.local/{name} \\
    --port app=5432 --label app=db --client web.shop.serviceaccount.identity.linkerd.cluster.local

With --as-group, NAME is a WorkloadGroup, which is printed in place of the ExternalWorkload:

  fairlead manifest db -n shop --as-group --identity spiffe://root.linkerd.cluster.local/{name} --port app=5432 \\
    --label app=db --network 192.0.2.0/24 --pod-network 10.42.0.0/16

The Lease and the rights of a host are not in it: `fairlead enrol` writes them."""

_ENROL = "`fairlead enrol NAME --group GROUP`"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="of the ExternalWorkload, or of the WorkloadGroup")
    parser.add_argument("-n", "--namespace", required=True, help="of the ExternalWorkload")
    host_arguments.add(parser)
    members = parser.add_argument_group("a group")
    members.add_argument("--as-group", action="store_true", help="print a WorkloadGroup with this name")
    members.add_argument(
        "--network",
        action="append",
        default=[],
        metavar="CIDR",
        help="where members' addresses may be; repeatable",
    )
    members.add_argument(
        "--pod-network", action="append", default=[], metavar="CIDR", help="of the cluster; repeatable"
    )
    parser.add_argument("--service", default="", metavar="NAME", help="default: the value of the first label")
    parser.add_argument(
        "--client", action="append", default=[], metavar="IDENTITY", help="that may connect; repeatable"
    )
    parser.add_argument("--linkerd-namespace", default="linkerd", metavar="NAMESPACE", help="default: linkerd")
    parser.add_argument(
        "--cluster-domain", default="cluster.local", metavar="DOMAIN", help="default: cluster.local"
    )
    parser.add_argument("--linkerd-version", default="", metavar="2.15", help="default: 2.16 and later")
    parser.add_argument("-o", dest="output", choices=["yaml", "json"], default="yaml", help="how to print")


def run(args: argparse.Namespace) -> int:
    parts = list(_of_group(args) if args.as_group else _of_host(args))
    print(_as_json(parts) if args.output == "json" else _as_yaml(parts), end="")
    return Exit.OK


def _of_host(args: argparse.Namespace) -> Iterator[Part]:
    host = _host(args)
    _refuse(args, [*request.problems(host), *manifests.problems(host, args.client)])
    service = args.service or next(iter(host.labels.values()))
    yield from manifests.parts(host, service, args.client, args.linkerd_version)


def _of_group(args: argparse.Namespace) -> Iterator[Part]:
    settings = {"podNetworks": args.pod_network} if args.pod_network else {}
    made = Group(
        name=args.name,
        namespace=args.namespace,
        generation=0,
        identity=args.identity,
        server_name=args.server_name,
        shared=False,
        labels=dict(args.label),
        annotations={},
        ports=tuple(args.port),
        networks=tuple(args.network),
        settings=settings,
    )
    unfit = [("--address", args.address), ("--api-identity", args.api_identity), ("--account", args.account)]
    own = [
        Problem(f"{option} is of one host, and not of a group", f"leave it out: {_ENROL} takes it")
        for option, given in unfit
        if given
    ]
    _refuse(args, [*own, *group.template_problems(made), *manifests.client_problems(args.client)])
    service = args.service or next(iter(made.labels.values()), made.name)
    yield from manifests.parts_of_group(made, service, args.client, args.linkerd_version)


def _refuse(args: argparse.Namespace, problems: Sequence[Problem]) -> None:
    if problems:
        *others, last = problems
        for one in others:
            complain(one.cause, one.remedy)
        label = f"{args.namespace}/{args.name}"
        raise Failure(Exit.FAILED, f"cannot write a manifest of {label}: {last.cause}", last.remedy)


def _host(args: argparse.Namespace) -> Host:
    def fill(template: str) -> str:
        return request.filled(template, args.name, args.namespace)

    return Host(
        name=args.name,
        namespace=args.namespace,
        addresses=tuple(args.address),
        identity=fill(args.identity),
        server_name=fill(args.server_name)
        or request.usual_server_name(args.name, args.namespace, args.linkerd_namespace, args.cluster_domain),
        ports=tuple(args.port),
        labels=dict(args.label),
        api_identity=fill(args.api_identity),
        account=bool(args.account),
    )


def _as_yaml(parts: Sequence[Part]) -> str:
    texts = []
    for part in parts:
        comment = "".join(f"# {line}\n" for line in part.comment.splitlines())
        texts.append(comment + operator.as_yaml(part.body))
    return "---\n".join(texts)


def _as_json(parts: Sequence[Part]) -> str:
    return (
        json.dumps({"apiVersion": "v1", "kind": "List", "items": [part.body for part in parts]}, indent=2) + "\n"
    )
