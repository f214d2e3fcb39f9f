"""An object of a list is read again only where its resourceVersion is another one."""

from typing import Any

from agent.adapters.kube.unchanged import Unchanged

LIST = "/leases"


class Reader:
    """`read`: the names of the objects that were read, in order."""

    def __init__(self) -> None:
        self.read: list[str] = []
        self.kept = Unchanged(self._value)

    def _value(self, body: dict[str, Any]) -> str:
        self.read.append(body["metadata"]["name"])
        return f"{body['metadata']['uid']} {body['spec']}"

    def list(self, *objects: dict[str, Any], path: str = LIST) -> list[str]:
        found = self.kept.complete(path, self.kept.of(path, objects))
        assert list(found) == [("shop", one["metadata"]["name"]) for one in objects]
        return list(found.values())


def body(name: str, version: str, uid: str = "u", spec: str = "") -> dict[str, Any]:
    return {
        "metadata": {"namespace": "shop", "name": name, "resourceVersion": version, "uid": uid},
        "spec": spec,
    }


def test_only_what_changed_is_read_again() -> None:
    reader = Reader()
    assert reader.list(body("a", "1"), body("b", "2")) == ["u ", "u "]
    assert reader.list(body("a", "1"), body("b", "3", spec="new")) == ["u ", "u new"]
    assert reader.read == ["a", "b", "b"]


def test_one_made_anew_under_its_name_is_read() -> None:
    reader = Reader()
    reader.list(body("a", "1"))
    assert reader.list(body("a", "5", uid="another")) == ["another "]


def test_what_is_gone_is_forgotten_and_lists_are_apart() -> None:
    reader = Reader()
    reader.list(body("a", "1"))
    assert reader.list(body("a", "1", spec="of another list"), path="/other") == ["u of another list"]
    assert reader.list() == []
    reader.list(body("a", "1"))
    assert reader.read == ["a", "a", "a"]


def test_an_object_without_a_version_is_read_each_time() -> None:
    reader = Reader()
    for spec in ("one", "two"):
        assert reader.list(body("a", "", spec=spec)) == [f"u {spec}"]
