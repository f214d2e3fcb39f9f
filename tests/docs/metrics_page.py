"""docs/metrics.md, from the table of the code."""

from agent.core import metrics


def page() -> str:
    lines = [
        "# Metrics of the agent",
        "",
        "Generated from `DECLARED` in `agent/core/metrics.py`.",
        "How they are scraped: [monitoring.md](monitoring.md).",
        "",
        f"A host with five probes has at most {metrics.MOST} series. What is not known has no series. Counters",
        "start again with the process; `process_…` are those of the agent.",
        "",
        "| metric | kind | labels | is |",
        "| --- | --- | --- | --- |",
    ]
    for name, declared in metrics.DECLARED.items():
        total = "_total" if declared.kind == "counter" else ""
        labels = ", ".join(f"`{label}`" for label in declared.labels)
        lines.append(f"| `{name}{total}` | {declared.kind} | {labels} | {declared.help} |")
    lines += [
        "| `fairlead_proxy_page_complete` | gauge |  | on `/metrics/all`: 1 where the proxy's page is whole |",
    ]
    return "\n".join(lines) + "\n"
