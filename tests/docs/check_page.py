"""docs/check.md, from the registries of `fairlead check`."""

from collections.abc import Iterator, Sequence

from agent.core.doctor import cluster_checks
from agent.core.doctor.check import Check

_HEAD = """\
# Check

Generated from `agent/core/doctor/cluster_checks.py`.

`fairlead check` shows hosts from the cluster's side: what no host may read. An operator runs it, anywhere, with
the rights of kubectl; `kubectl fairlead check` is the same command. It reads only. What `fairlead doctor` checks
on the host is in [doctor.md](doctor.md); both have the same results, exit codes and JSON.

```
fairlead check db-1 -n shop    # one host
fairlead check --group db      # the members of a group
fairlead check -A              # every host
fairlead check --list          # what is checked
```

The rights that it needs are in `config/cluster/operator.yaml`. Without one of them the checks that need it are
unknown, and say which it is. `--json` has the checks of the cluster under `checks`, as doctor, and those of each
host under `hosts`, by NAMESPACE/NAME.

Linkerd's version is read from the ConfigMap `linkerd-config`, and so are `clusterNetworks` and the default policy.
What is installed is compared with the files in `config/cluster` of this version: each field that they have must be
equal; what the API server adds does not count.
"""


def page() -> str:
    cluster, host = (list(_rows(one)) for one in (cluster_checks.CLUSTER, cluster_checks.HOST))
    head = ["", "| check | asks whether | depends on |", "| --- | --- | --- |"]
    lines = ["", "## The cluster", *head, *cluster, "", "## Each host", *head, *host]
    return _HEAD + "\n".join(lines) + "\n"


def _rows(checks: Sequence[Check]) -> Iterator[str]:
    for check in checks:
        yield f"| `{check.name}` | {check.asks} | {', '.join(f'`{name}`' for name in check.needs)} |"
