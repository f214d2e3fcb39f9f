"""What an operator gave about one host."""

from dataclasses import dataclass, field

from agent.core.enrol.request import Port


@dataclass(frozen=True)
class Order:
    """One host, with "", () and None for what the existing ExternalWorkload, or a default, has.
    `identity`, `server_name`: templates with {name} and {namespace}."""

    name: str
    namespace: str
    addresses: tuple[str, ...] = ()
    identity: str = ""
    server_name: str = ""
    ports: tuple[Port, ...] = ()
    labels: dict[str, str] = field(default_factory=dict)
    api_identity: str = ""
    account: bool | None = None
    force: bool = False
    replace: bool = False
    group: str = ""  # a WorkloadGroup of the namespace
