"""What every part of the agent is constructed from."""

from dataclasses import dataclass

from agent.adapters import kube
from agent.adapters.helper import Helper
from agent.config import Config
from agent.core.health import Spec
from agent.host import Host
from agent.loops.board import Board


@dataclass(frozen=True)
class Context:
    """`owner`: uid and gid of the proxy. `count`: the number of this configuration in this process."""

    config: Config
    host: Host
    owner: tuple[int, int]
    spec: Spec
    board: Board
    credential: kube.Credential
    helper: Helper
    count: int

    @property
    def name(self) -> str:
        return f"{self.config.workload.namespace}/{self.config.workload.name}"
