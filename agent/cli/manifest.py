"""fairlead manifest"""

import argparse
import json
from collections.abc import Sequence

from agent.cli.kit import host_arguments
from agent.cli.kit.exits import Exit, Failure, complain
from agent.core.enrol import manifests, request
from agent.core.enrol.manifests import Part
from agent.core.enrol.request import Host

HELP = "print a host's objects in the cluster, and who may connect to it, with comments"
DESCRIPTION = """\
Prints the ExternalWorkload of a host and a Service; with --client also a Server for each port, a
MeshTLSAuthentication with the clients' exact identities, and AuthorizationPolicies. Each has a comment that says
what it is for. It asks no cluster and changes nothing:

  fairlead manifest db-1 -n shop --address 192.0.2.10 --identity spiffe://root.linkerd.cluster.local/{name} \\
    --port app=5432 --label app=db --client web.shop.serviceaccount.identity.linkerd.cluster.local

The Lease and the rights of the host are not in it: `fairlead enrol` writes them."""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="of the ExternalWorkload")
    parser.add_argument("-n", "--namespace", required=True, help="of the ExternalWorkload")
    host_arguments.add(parser)
    parser.add_argument("--service", default="", metavar="NAME", help="default: the value of the first label")
    parser.add_argument("--client", action="append", default=[], metavar="IDENTITY", help="that may connect")
    parser.add_argument("--linkerd-namespace", default="linkerd", metavar="NAMESPACE")
    parser.add_argument("--cluster-domain", default="cluster.local", metavar="DOMAIN")
    parser.add_argument("--linkerd-version", default="", metavar="2.15", help="default: 2.16 and later")
    parser.add_argument("-o", dest="output", choices=["yaml", "json"], default="yaml", help="how to print")


def run(args: argparse.Namespace) -> int:
    host = _host(args)
    if wrong := [*request.problems(host), *manifests.problems(host, args.client)]:
        *others, last = wrong
        for one in others:
            complain(one.cause, one.remedy)
        label = f"{args.namespace}/{args.name}"
        raise Failure(Exit.FAILED, f"cannot write a manifest of {label}: {last.cause}", last.remedy)
    service = args.service or next(iter(host.labels.values()))
    parts = list(manifests.parts(host, service, args.client, args.linkerd_version))
    print(_as_json(parts) if args.output == "json" else _as_yaml(parts), end="")
    return Exit.OK


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
    import yaml

    texts = []
    for part in parts:
        comment = "".join(f"# {line}\n" for line in part.comment.splitlines())
        texts.append(comment + yaml.safe_dump(part.body, sort_keys=False))
    return "---\n".join(texts)


def _as_json(parts: Sequence[Part]) -> str:
    return (
        json.dumps({"apiVersion": "v1", "kind": "List", "items": [part.body for part in parts]}, indent=2) + "\n"
    )
