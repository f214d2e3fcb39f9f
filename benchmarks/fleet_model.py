"""What fleets cost that no machine here carries: the measured costs of one renewal and one host, times many.

Assumptions: a renewal costs the same at any rate, and the servers' memory grows by the same for each host; a host
at rest sends its renewals and nothing else; its watch costs memory alone. It says nothing of etcd's disk, of the
network or of other users of the API server. docs/scale.md has the measurements, and a test compares the model with
them.
"""

from dataclasses import dataclass

PERIODS = ((500, 5.0), (2000, 10.0), (5000, 20.0))  # up to so many hosts, as docs/scale.md advises
LONGEST = 60.0
LEASE_BYTES = 1200  # in a LIST
LOOK = 5.0  # seconds between two of the watcher
RENEWAL_BYTES = 3600  # that the API server reads and writes for one, TLS and etcd's part too


@dataclass(frozen=True)
class Costs:
    """CPU seconds of one renewal; MiB without a host and for each."""

    apiserver: float = 3.0e-3
    etcd: float = 0.7e-3
    apiserver_base: float = 354.0
    apiserver_host: float = 0.051
    etcd_base: float = 61.0
    etcd_host: float = 0.0063


@dataclass(frozen=True)
class Fleet:
    """`noticed`: seconds until a dead host is out of load balancing. Cores, MiB, and bytes in a second."""

    renewals: float
    noticed: float
    apiserver_cores: float
    etcd_cores: float
    apiserver_memory: float
    etcd_memory: float
    listed: float
    moved: float


def period(hosts: int) -> float:
    return next((seconds for most, seconds in PERIODS if hosts <= most), LONGEST)


def fleet(hosts: int, every: float, costs: Costs = Costs()) -> Fleet:
    rate = hosts / every
    return Fleet(
        renewals=rate,
        noticed=4 * every + LOOK + 1,
        apiserver_cores=rate * costs.apiserver,
        etcd_cores=rate * costs.etcd,
        apiserver_memory=costs.apiserver_base + hosts * costs.apiserver_host,
        etcd_memory=costs.etcd_base + hosts * costs.etcd_host,
        listed=hosts * LEASE_BYTES / LOOK,
        moved=rate * RENEWAL_BYTES,
    )


async def show(hosts: int, seconds: float) -> None:
    """`seconds` is not used: nothing is measured."""
    every = period(hosts)
    found = fleet(hosts, every)
    print(
        f"model: {hosts} hosts, every {every:g} s: {found.renewals:.0f} renewals/s; API server"
        f" {found.apiserver_cores:.2f} cores, {found.apiserver_memory:.0f} MiB; etcd {found.etcd_cores:.2f} cores,"
        f" {found.etcd_memory:.0f} MiB; the API server moves {found.moved / 1e6:.1f} MB/s for renewals, and"
        f" {found.listed / 1e6:.1f} MB/s for the watcher;"
        f" a dead host is out within {found.noticed:.0f} s",
        flush=True,
    )
