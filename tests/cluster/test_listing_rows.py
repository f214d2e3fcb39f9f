"""One row of `fairlead list`, from objects that may lack anything."""

from typing import Any

import pytest

from agent.cluster.listing import rows
from agent.core.enrol.group import digest

Json = dict[str, Any]
VM, DB = ("shop", "vm-1"), ("shop", "db")
SPEC: Json = {"template": {"metadata": {"labels": {"app": "db"}}}, "meshTLS": {"identity": "spiffe://td/{name}"}}


def row(workload: Json, groups: dict[tuple[str, str], Json]) -> rows.Row:
    (found,) = rows.rows({VM: workload}, {}, groups, {}, now=0.0)
    return found


def member(template: str | None, group: str = "db") -> Json:
    annotations = {} if template is None else {"fairlead.dev/group-hash": template}
    return {"metadata": {"labels": {"workloadGroup": group}, "annotations": annotations}}


@pytest.mark.parametrize(
    ("workload", "groups", "said"),
    [
        pytest.param(member(digest(SPEC)), {DB: {"spec": SPEC}}, "current", id="as the group says"),
        pytest.param(member("older"), {DB: {"spec": SPEC}}, "outdated", id="made by an older template"),
        pytest.param(member(None), {DB: {"spec": SPEC}}, "outdated", id="made by no template"),
        pytest.param(member("older"), {}, "", id="groups that this user may not read"),
        pytest.param(member("older"), {("other", "db"): {"spec": SPEC}}, "", id="a group of another namespace"),
        pytest.param(member("older", "web"), {DB: {"spec": SPEC}}, "", id="another group"),
        pytest.param({}, {DB: {"spec": SPEC}}, "", id="no member"),
    ],
)
def test_whether_the_current_template_made_it(workload: Json, groups: dict[Any, Json], said: str) -> None:
    assert row(workload, groups).template == said
