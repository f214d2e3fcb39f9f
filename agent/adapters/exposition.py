"""Metrics as text for Prometheus, by its own client library, which is imported with the first scrape.

Law: nothing is registered for the whole process; each page has a registry of its own.
"""

import asyncio
import importlib
from collections.abc import Iterator, Sequence
from typing import Any, Final

from agent.core.metrics import Family

# In parts, between which the loop goes on; the first are those of the standard library that the last needs. In a
# thread of its own the same takes 1 MiB more: the allocator gives each thread memory of its own.
_MODULES: Final = (
    *("email.message", "http.client", "shutil", "http.server", "urllib.request", "wsgiref.simple_server"),
    "prometheus_client",
)
PLAIN = "text/plain; version=0.0.4; charset=utf-8"


async def page(families: Sequence[Family], accept: str = "") -> tuple[str, bytes]:
    """Content type and text. `accept`: the client's header; without one it is the format that every Prometheus
    reads."""
    for name in _MODULES:
        importlib.import_module(name)
        await asyncio.sleep(0)
    from prometheus_client import CollectorRegistry, ProcessCollector
    from prometheus_client.exposition import choose_encoder, generate_latest

    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collected(families))
    ProcessCollector(registry=registry)
    if not accept:
        return PLAIN, generate_latest(registry)
    encode, kind = choose_encoder(accept)
    return kind, encode(registry)


class _Collected:
    def __init__(self, families: Sequence[Family]) -> None:
        self._families = families

    def collect(self) -> Iterator[Any]:
        from prometheus_client.core import Metric

        for family in self._families:
            metric = Metric(family.name, family.declared.help, family.declared.kind)
            total = "_total" if family.declared.kind == "counter" else ""
            for sample in family.samples:
                metric.add_sample(family.name + (total or sample.suffix), dict(sample.labels), sample.value)
            yield metric
