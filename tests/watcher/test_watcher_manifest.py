"""The objects of config/cluster/watcher.yaml are about the same pods, and ask for what the watcher serves."""

from typing import Any

from agent.cli import main
from agent.cluster.watcher.board import Board
from agent.cluster.watcher.judge import Judge
from agent.cluster.watcher.pages import Pages
from agent.core.watch.election import Terms
from agent.core.watch.limits import Limits
from tests.fakes.fleet_api import MemoryFleetApi, MemoryLeaderApi
from tests.watcher.watching import SYSTEM, manifests


def one(kind: str) -> Any:
    (found,) = [document for document in manifests() if document["kind"] == kind]
    return found


POD = one("Deployment")["spec"]["template"]
(CONTAINER,) = POD["spec"]["containers"]


def test_all_select_its_pods() -> None:
    labels = POD["metadata"]["labels"]
    (apart,) = POD["spec"]["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    (spread,) = POD["spec"]["topologySpreadConstraints"]
    selectors = [one(kind)["spec"]["selector"] for kind in ("Deployment", "PodDisruptionBudget")]
    selectors += [one("NetworkPolicy")["spec"]["podSelector"]]
    selectors += [apart["podAffinityTerm"]["labelSelector"], spread["labelSelector"]]
    assert selectors == [{"matchLabels": labels}] * 5
    assert apart["podAffinityTerm"]["topologyKey"] == "kubernetes.io/hostname"


def test_one_replica_stays_while_nodes_are_drained() -> None:
    assert (one("Deployment")["spec"]["replicas"], one("PodDisruptionBudget")["spec"]["minAvailable"]) == (2, 1)


def test_its_probes_ask_for_pages_that_it_serves_on_the_port_that_is_let_in() -> None:
    board = Board(("",), Limits(), lambda: 0.0)
    words = (lambda: False, MemoryLeaderApi(), str, str, str)
    served = {route.path for route in Pages(board, Judge(MemoryFleetApi(), board, *words), lambda: False).routes()}
    (port,) = CONTAINER["ports"]
    probes = [CONTAINER[f"{kind}Probe"]["httpGet"] for kind in ("liveness", "readiness")]
    assert [probe["path"] for probe in probes] == ["/livez", "/readyz"]
    assert {probe["path"] for probe in probes} <= served
    assert {probe["port"] for probe in probes} == {port["name"]}
    (let_in,) = one("NetworkPolicy")["spec"]["ingress"]
    assert let_in == {"ports": [{"protocol": "TCP", "port": port["containerPort"]}]}
    args = main.build_parser(["watcher"]).parse_args(CONTAINER["args"])
    assert args.listen == ("0.0.0.0", port["containerPort"])


def test_a_liveness_probe_never_ends_a_watcher_that_waits_for_the_api_server() -> None:
    """Readiness alone follows the view; and a stop is over before it is a kill."""
    assert CONTAINER["livenessProbe"]["httpGet"]["path"] == "/livez"
    assert POD["spec"]["terminationGracePeriodSeconds"] >= 5 and Terms().deadline < Terms().duration


def test_leases_are_read_only_but_for_its_own() -> None:
    rules = {rule["resources"][0]: rule["verbs"] for rule in one("ClusterRole")["rules"]}
    assert rules["leases"] == ["get", "list"]
    own = one("Role")
    assert own["metadata"]["namespace"] == SYSTEM
    assert {tuple(rule.get("resourceNames", ())) for rule in own["rules"]} == {(), ("fairlead-watcher",)}
