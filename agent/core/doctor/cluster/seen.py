"""Objects of the cluster as the judgements need them."""

from collections.abc import Iterable, Mapping

from agent.core.late import dataclass, field


@dataclass(frozen=True)
class Port:
    """Of an ExternalWorkload."""

    port: int
    name: str = ""
    protocol: str = "TCP"

    def __str__(self) -> str:
        return f"{self.name}={self.port}" if self.name else str(self.port)


@dataclass(frozen=True)
class Workload:
    """`ready`: the status of its condition Ready; "": it has none. `default_policy`: its annotation."""

    namespace: str
    name: str
    uid: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    addresses: tuple[str, ...] = ()
    ports: tuple[Port, ...] = ()
    identity: str = ""
    group: str = ""
    ready: str = ""
    reason: str = ""
    message: str = ""
    default_policy: str = ""

    @property
    def label(self) -> str:
        return f"{self.namespace}/{self.name}"

    def has(self, target: "int | str", protocol: str = "TCP") -> bool:
        """A port of that number or name."""
        return any(target in (one.port, one.name or None) and one.protocol == protocol for one in self.ports)


@dataclass(frozen=True)
class Lease:
    """`age`: seconds since it was renewed; None: never. `owner`: the uid of the ExternalWorkload that it names."""

    age: float | None
    duration: int
    owner: str = ""


@dataclass(frozen=True)
class ServicePort:
    port: int
    target: int | str
    protocol: str = "TCP"


@dataclass(frozen=True)
class Service:
    name: str
    selector: Mapping[str, str]
    ports: tuple[ServicePort, ...] = ()

    def selects(self, workload: Workload) -> bool:
        return bool(self.selector) and self.selector.items() <= workload.labels.items()


@dataclass(frozen=True)
class Requirement:
    """One of a selector's matchExpressions."""

    key: str
    operator: str
    values: tuple[str, ...] = ()

    def meets(self, labels: Mapping[str, str]) -> bool:
        match self.operator:
            case "In":
                return labels.get(self.key) in self.values
            case "NotIn":
                return labels.get(self.key) not in self.values
            case "Exists":
                return self.key in labels
            case "DoesNotExist":
                return self.key not in labels
        return False


@dataclass(frozen=True)
class Selector:
    labels: Mapping[str, str] = field(default_factory=dict)
    expressions: tuple[Requirement, ...] = ()

    def meets(self, labels: Mapping[str, str]) -> bool:
        return self.labels.items() <= labels.items() and all(one.meets(labels) for one in self.expressions)


@dataclass(frozen=True)
class Server:
    """`selector`: of ExternalWorkloads; None: it selects pods. `created`: RFC 3339."""

    name: str
    selector: Selector | None
    port: int | str
    access: str = "deny"
    created: str = ""

    def meets(self, workload: Workload) -> bool:
        return self.selector is not None and self.selector.meets(workload.labels) and workload.has(self.port)


@dataclass(frozen=True)
class Authentication:
    """`identities`: exact IDs and patterns. `accounts`: ServiceAccounts. `networks`: it is about addresses."""

    kind: str
    name: str
    namespace: str
    identities: tuple[str, ...] = ()
    accounts: tuple[str, ...] = ()
    networks: bool = False

    @property
    def admits_a_host(self) -> bool:
        """SPIFFE IDs match exact IDs alone (docs/linkerd.md §0.5)."""
        return self.networks or any(one.startswith("spiffe://") for one in self.identities)


@dataclass(frozen=True)
class Policy:
    """An AuthorizationPolicy. `target`: kind and name. A client must satisfy each of `required`."""

    name: str
    target: tuple[str, str]
    required: tuple[Authentication, ...]


def titles(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))
