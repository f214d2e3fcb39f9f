"""The pages that are generated from tables of the code. `python -m tests.docs.pages` writes them."""

from collections.abc import Callable, Mapping
from pathlib import Path

from agent.config import changes
from agent.core import reasons, replacement
from agent.core.doctor import host_checks
from agent.core.redirect import trial
from tests.attacks import cluster_rows
from tests.docs import check_page, configuration_page, metrics_page, openapi, status_schema

ROOT = Path(__file__).parents[2]


def reasons_page() -> str:
    lines = [
        "# Reasons",
        "",
        "Every reason that fairlead gives, in conditions, logs, `fairlead status` and its JSON. Generated from",
        "`agent/core/reasons.py` and its parts.",
        "",
        "`fairlead help REASON` shows one of them on the host.",
        "",
        "A symptom stays silent among the problems while a reason that it depends on is named.",
        "",
        "| reason | severity | what is the case | what to do | depends on |",
        "| --- | --- | --- | --- | --- |",
    ]
    for reason, entry in reasons.REGISTRY.items():
        causes = ", ".join(f"`{cause.value}`" for cause in reasons.Reason if cause in entry.depends_on)
        row = (f"`{reason.value}`", entry.severity.value, entry.text, entry.remedy, causes)
        lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines) + "\n"


def lifecycle_page() -> str:
    """The table of `agent.core.replacement` as a diagram."""
    starts = [f"    [*] --> {_name(replacement.Stage.LEAVING)}"]
    rows = [f"    {_name(a)} --> {_name(b)}: {news.value}" for (a, news), b in replacement.TRANSITIONS.items()]
    ends = [f"    {_name(stage)} --> [*]" for stage in replacement.Stage if stage in replacement.ENDS]
    lines = [
        "# The replacement of a proxy",
        "",
        "Generated from `TRANSITIONS` in `agent/core/replacement.py`; any other transition is an error there.",
        "Without another binary to go back to, the first failure is the last.",
        "",
        "```mermaid",
        "stateDiagram-v2",
        *starts,
        *rows,
        *ends,
        "```",
    ]
    return "\n".join(lines) + "\n"


def _name(stage: replacement.Stage) -> str:
    return stage.value.replace("-", "_")


def reload_page() -> str:
    """The table of `agent.config.changes`."""
    lines = [
        "# Reload",
        "",
        "Generated from `TAKES` in `agent/config/changes.py`.",
        "",
        "`fairlead reload`, `systemctl reload fairlead` and SIGHUP make the agent read the edited",
        "configuration. A file with problems is refused, each problem is listed, and the previous",
        "configuration stays in force. Otherwise the agent continues with the new one, as after a restart of",
        "the agent: proxy, redirect, connections and Ready do not change.",
        "",
        "Changes that need more than this are pending: `fairlead status` shows RestartPending or",
        "RedirectUnapproved until they are in force. `fairlead reload --restart-proxy` also restarts the",
        "proxy, drained first, if a change needs it. A proxy that crashes before then starts with the new",
        "settings too. The running binary is not compared: after a change of `proxy.binary`, use",
        "`fairlead proxy restart`.",
        "",
        "New trust anchors, once they are in force (`fairlead anchors accept`, `identity.anchors_follow`, or",
        "an edited file at `identity.trust_anchors`), restart the proxy automatically, each host at another time",
        "within `identity.anchors_window`. TrustAnchorsPending is shown until then.",
        "",
        "| key | what an edit takes |",
        "| --- | --- |",
    ]
    for key in sorted(changes.TAKES):
        takes = "; ".join(one.value for one in changes.Takes if one in changes.TAKES[key])
        lines.append(f"| `{key if '.' in key else key + '.*'}` | {takes} |")
    return "\n".join(lines) + "\n"


def trial_page() -> str:
    """The table of `agent.core.redirect.trial` as a diagram."""
    rows = [
        f"    {_word(stage)} --> {_word(to)}: {event.value}"
        for stage, row in trial.TABLE.items()
        for event, to in row.items()
        if isinstance(to, trial.Stage) and to is not stage
    ]
    lines = [
        "# The trial of a redirect",
        "",
        "Generated from `TABLE` in `agent/core/redirect/trial.py`; any other transition is refused there.",
        "In the stages none and on_trial the agent may turn a redirect on. In every stage but removed it may",
        "close a port.",
        "",
        "```mermaid",
        "stateDiagram-v2",
        f"    [*] --> {_word(trial.Stage.NONE)}",
        *rows,
        "```",
    ]
    return "\n".join(lines) + "\n"


def _word(stage: trial.Stage) -> str:
    return stage.value.replace(" ", "_")


def security_page() -> str:
    """The table of what the API server refuses, in a page that is otherwise written by hand."""
    page = (ROOT / "docs/security.md").read_text()
    before, rest = page.split(_BEGIN)
    _, after = rest.split(_END)
    return f"{before}{_BEGIN}\n{cluster_rows.table()}{_END}{after}"


_BEGIN = "<!-- generated from tests/attacks/cluster_rows.py: make docs -->"
_END = "<!-- end -->"


_DOCTOR = """\
# Doctor

Generated from `HOST` in `agent/core/doctor/host_checks.py`.

`fairlead doctor` runs these checks in order of dependence, and those that are independent side by side. Each has
3 s, all together 20 s; what does not answer by then is unknown. It changes nothing on the host or in the cluster,
and works without the agent. A check is not run if one that it depends on failed.

| result | means |
| --- | --- |
| ok | it is as it has to be |
| warn | the host can serve; an operator should look |
| fail | the host cannot serve, or not for long; the fix is named |
| unknown | there was no answer |
| skipped | it does not apply here, or needs root |

Exit 0: no check failed. Exit 2: one failed. Exit 1: with `--strict`, a warning or a check without an answer.
`--json` prints an object with `schema`, now 1: keys are added, never changed or removed. Each of its `checks` has
`name`, `asks`, `result`, `why`, `fix` and `behind`, the failed check for which it was not run.

| check | asks whether | depends on | as root only | answers |
| --- | --- | --- | --- | --- |
"""


def doctor_page() -> str:
    """The registry of the host's checks."""
    rows = []
    for check in host_checks.HOST:
        needs = ", ".join(f"`{name}`" for name in check.needs)
        row = (f"`{check.name}`", check.asks, needs, "yes" if check.root else "", "; ".join(check.answers))
        rows.append(f"| {' | '.join(row)} |\n")
    return _DOCTOR + "".join(rows)


PAGES: Mapping[str, Callable[[], str]] = {
    "reasons.md": reasons_page,
    "reload.md": reload_page,
    "proxy-lifecycle.md": lifecycle_page,
    "redirect-trial.md": trial_page,
    "security.md": security_page,
    "metrics.md": metrics_page.page,
    "openapi.json": openapi.page,
    "status-json.md": status_schema.page,
    "doctor.md": doctor_page,
    "check.md": check_page.page,
    "configuration.md": configuration_page.page,
}

if __name__ == "__main__":
    for name, page in PAGES.items():
        (ROOT / "docs" / name).write_text(page())
