"""What the watcher serves over HTTP: probes for kubelet, and metrics."""

from collections.abc import Callable, Iterator, Sequence

from agent.adapters.http_server import Request, Response, Route, refusal
from agent.cluster.watcher.board import Board
from agent.cluster.watcher.judge import Judge
from agent.core import numbers
from agent.core.watch.fleet import Name, Standing, WorkloadSeen
from agent.core.watch.guard import Pace

# Each metric: its kind, and what it is.
METRICS = {
    "fairlead_watcher_leads": ("gauge", "1 where this replica writes"),
    "fairlead_watcher_stale": (
        "gauge",
        "1 where the view of a scope is stale, by namespace; empty: all namespaces",
    ),
    "fairlead_watcher_hosts": ("gauge", "hosts, by standing: well, late, silent, planned, out or unjudged"),
    "fairlead_watcher_held_hosts": ("gauge", "silent hosts that the guard keeps in load balancing"),
    "fairlead_watcher_zone_guarded": ("gauge", "1 where the guard slows down or stops, by zone and pace"),
    "fairlead_watcher_marked_total": ("counter", "hosts that this replica has marked since it started"),
}


class Pages:
    """`leads`: this replica may write."""

    def __init__(self, board: Board, judge: Judge, leads: Callable[[], bool]) -> None:
        self._board, self._judge, self._leads = board, judge, leads

    def routes(self) -> Sequence[Route]:
        return [
            Route("GET", "/livez", self._live),
            Route("GET", "/readyz", self._ready),
            Route("GET", "/metrics", self._metrics),
            Route("GET", "/v1/targets", self._targets),
        ]

    async def _live(self, request: Request) -> Response:
        return Response("ok\n")

    async def _ready(self, request: Request) -> Response:
        if self._board.stale():
            return refusal(503, "the view of the fleet is stale", "see the watcher's log")
        return Response("ok\n")

    async def _metrics(self, request: Request) -> Response:
        return Response("".join(f"{line}\n" for line in self._lines()))

    async def _targets(self, request: Request) -> Response:
        """All hosts, as Prometheus' HTTP service discovery takes them. `port`: what to scrape on each."""
        port = numbers.whole(request.query.get("port", ""))
        if port is None or not 0 < port < 65536:
            return refusal(400, "the query has no port", "ask for /v1/targets?port=PORT")
        views = self._board.views.values()
        return Response(
            [_target(name, seen, port) for view in views for name, seen in sorted(view.workloads.items())]
        )

    def _lines(self) -> Iterator[str]:
        for name, (kind, text) in METRICS.items():
            yield f"# HELP {name} {text}"
            yield f"# TYPE {name} {kind}"
            yield from (f"{name}{labels} {value}" for labels, value in self._values(name))

    def _values(self, name: str) -> Iterator[tuple[str, int]]:
        """With the labels of each."""
        board, decision = self._board, self._board.decision
        match name.removeprefix("fairlead_watcher_"):
            case "leads":
                yield "", int(self._leads())
            case "stale":
                for scope, view in board.views.items():
                    yield f'{{namespace="{_escaped(scope)}"}}', int(view.stale(board.clock(), board.limits))
            case "hosts":
                for standing in Standing:
                    yield f'{{standing="{standing.value}"}}', decision.standings.get(standing, 0)
            case "held_hosts":
                yield "", len(decision.held)
            case "zone_guarded":
                for zone, pace in decision.memory.paces.items():
                    labels = f'{{zone="{_escaped(zone)}",pace="{pace.value}"}}'
                    yield labels, int(pace is not Pace.NORMAL)
            case "marked_total":
                yield "", self._judge.marked


def _target(name: Name, seen: WorkloadSeen, port: int) -> dict[str, object]:
    labels = {"namespace": name[0], "name": name[1], "zone": seen.zone, "ready": str(seen.ready).lower()}
    hosts = [f"[{address}]" if ":" in address else address for address in seen.addresses[:1]]
    return {
        "targets": [f"{host}:{port}" for host in hosts],
        "labels": {f"__meta_fairlead_{key}": value for key, value in labels.items()},
    }


def _escaped(value: str) -> str:
    """As the exposition format has it for a label's value."""
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
