"""The objects of the embedded API server: every rule of a write, and the history that watches read.

Law: no HTTP here. One version counter for all objects, as etcd's revision; a write that changes nothing does not
increase it. Methods raise ApiError, and hand out copies.
"""

import asyncio
import copy
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from agent.sandbox.api import errors
from agent.sandbox.api.errors import Resource
from agent.sandbox.api.schema import METADATA_SCHEMA, Json, Problem, problems, shape

# A fresh etcd does not answer from revision 1 either: earlier revisions are too old.
FIRST_VERSION = 100
HISTORY = 1000  # changes that a watch can be resumed over
_SERVER_OWNED = ("uid", "creationTimestamp", "generation")


@dataclass(frozen=True)
class Place:
    """Where an object is. `name` is "" for a whole collection, `namespace` for all of them."""

    resource: Resource
    namespace: str
    name: str = ""

    def holds(self, other: "Place") -> bool:
        return (
            self.resource is other.resource
            and self.namespace in ("", other.namespace)
            and self.name in ("", other.name)
        )


@dataclass(frozen=True)
class Change:
    """One entry of the history. `kind`: ADDED | MODIFIED | DELETED."""

    version: int
    kind: str
    place: Place
    object: Json


class Store:
    def __init__(self) -> None:
        self.version = FIRST_VERSION
        self.apart = True  # a status is a subresource; False: part of the object, as before Linkerd 2.16
        self._oldest = FIRST_VERSION  # a watch may start here or later
        self._objects: dict[Place, Json] = {}
        self._history: deque[Change] = deque()
        self._news = asyncio.Event()

    # reading ------------------------------------------------------------------------------------

    def get(self, place: Place) -> Json:
        return copy.deepcopy(self._at(place))

    def find(self, place: Place) -> list[Json]:
        return [copy.deepcopy(o) for at, o in sorted(self._objects.items(), key=_order) if place.holds(at)]

    def since(self, version: int, place: Place) -> list[Change]:
        """The changes after `version`. Raises ApiError 410 where they were dropped."""
        if version < self._oldest:
            raise errors.expired(version, self._oldest)
        return [c for c in self._history if c.version > version and place.holds(c.place)]

    def news(self) -> asyncio.Event:
        """Set at the next change after this call, or when watches are to end."""
        return self._news

    def wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    def forget(self) -> None:
        """Drop the history, as a compaction of etcd does: watches from before now get 410."""
        self._history.clear()
        self._oldest = self.version

    def _at(self, place: Place) -> Json:
        if place not in self._objects:
            raise errors.not_found(place.resource, place.name)
        return self._objects[place]

    # writing ------------------------------------------------------------------------------------

    def create(self, collection: Place, body: Json) -> Json:
        new = _checked_envelope(collection, copy.deepcopy(body))
        place = Place(collection.resource, collection.namespace, new["metadata"].get("name", ""))
        if place in self._objects:
            raise errors.exists(place.resource, place.name)
        if place.resource.custom:
            new.pop("status", None)
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        new["metadata"] |= {"namespace": place.namespace, "uid": str(uuid.uuid4()), "creationTimestamp": now}
        if place.resource.custom:
            new["metadata"]["generation"] = 1
        return self._commit("ADDED", place, _valid(place, new))

    def replace(self, place: Place, body: Json, *, status: bool = False) -> Json:
        """PUT: the uid in the body, if any, is a precondition."""
        old = self._at(place)
        uid = body.get("metadata", {}).get("uid", old["metadata"]["uid"])
        if uid != old["metadata"]["uid"]:
            raise _uid_conflict(place, uid, old)
        return self._update(place, copy.deepcopy(body), status)

    def patch(self, place: Place, change: Callable[[Json], Json], *, status: bool = False) -> Json:
        """`change` gets a copy of the object and returns what it shall be."""
        return self._update(place, change(self.get(place)), status)

    def delete(self, place: Place, preconditions: Json) -> Json:
        old = self._at(place)
        for key, wanted in preconditions.items():
            if old["metadata"].get(key) != wanted and key == "uid":
                raise _uid_conflict(place, wanted, old)
            if old["metadata"].get(key) != wanted:
                raise errors.stale(place.resource, place.name)
        return self._commit("DELETED", place, copy.deepcopy(old))

    def _update(self, place: Place, new: Json, status: bool) -> Json:
        old = self._at(place)
        new = _checked_envelope(place, new)
        _check_version(place, new, old)
        new = _only_status(new, old) if status else self._no_status(place, new, old)
        new = _valid(place, new)
        if new == old:
            return copy.deepcopy(old)
        if place.resource.custom and not status and _content(new) != _content(old):
            new["metadata"]["generation"] += 1
        return self._commit("MODIFIED", place, new)

    def _no_status(self, place: Place, new: Json, old: Json) -> Json:
        status = {} if self.apart or "status" not in new else {"status": new["status"]}
        return _all_but_status(place, new, old) | status

    def _commit(self, kind: str, place: Place, new: Json) -> Json:
        self.version += 1
        new["metadata"]["resourceVersion"] = str(self.version)
        if kind == "DELETED":
            del self._objects[place]
        else:
            self._objects[place] = new
        self._history.append(Change(self.version, kind, place, copy.deepcopy(new)))
        if len(self._history) > HISTORY:
            self._oldest = self._history.popleft().version
        self.wake()
        return copy.deepcopy(new)


def _order(entry: tuple[Place, Json]) -> tuple[str, str]:
    return entry[0].namespace, entry[0].name


def _checked_envelope(place: Place, new: Json) -> Json:
    """Kind, name and namespace say what the URL says; what is absent is filled in."""
    resource = place.resource
    version, kind = new.get("apiVersion"), new.get("kind")
    if version == resource.api_version and kind != resource.kind and resource.custom:
        cause = Problem("kind", "FieldValueInvalid", f'Invalid value: "{kind}": must be {resource.kind}')
        raise errors.invalid(resource, place.name, [cause])
    if (version, kind) != (resource.api_version, resource.kind):
        text = f"the object provided is {version} {kind} and not {resource.api_version} {resource.kind}"
        raise errors.bad_request(text)
    meta = new.setdefault("metadata", {})
    if not isinstance(meta, dict):
        raise errors.bad_request("metadata is not an object")
    if place.name and meta.get("name", place.name) != place.name:
        text = f"the name of the object ({meta['name']}) does not match the name on the URL ({place.name})"
        raise errors.bad_request(text)
    if meta.get("namespace", place.namespace) != place.namespace:
        text = "the namespace of the provided object does not match the namespace sent on the request"
        raise errors.bad_request(text)
    return new


def _check_version(place: Place, new: Json, old: Json) -> None:
    version = new["metadata"].get("resourceVersion") or ""
    if not version:
        cause = Problem("metadata.resourceVersion", "FieldValueInvalid", "must be specified for an update")
        raise errors.invalid(place.resource, place.name, [cause])
    if version != old["metadata"]["resourceVersion"]:
        raise errors.stale(place.resource, place.name)


def _only_status(new: Json, old: Json) -> Json:
    """A write to /status changes nothing else: metadata, and so a uid in it, is silently ignored."""
    kept = {k: v for k, v in copy.deepcopy(old).items() if k != "status"}
    return kept | ({"status": new["status"]} if "status" in new else {})


def _all_but_status(place: Place, new: Json, old: Json) -> Json:
    before, meta = old["metadata"], new["metadata"]
    if meta.get("uid", before["uid"]) != before["uid"]:
        cause = Problem("metadata.uid", "FieldValueInvalid", f'Invalid value: "{meta["uid"]}": field is immutable')
        raise errors.invalid(place.resource, place.name, [cause])
    owned = {k: before[k] for k in _SERVER_OWNED if k in before}
    new["metadata"] = meta | owned | {"name": place.name, "namespace": place.namespace}
    if place.resource.custom:
        new.pop("status", None)
        new |= {"status": copy.deepcopy(old["status"])} if "status" in old else {}
    return new


def _valid(place: Place, new: Json) -> Json:
    """Shaped by the schema. Raises ApiError 422 with every problem."""
    meta = shape(new["metadata"], METADATA_SCHEMA)
    new = shape(new, place.resource.schema) | {"metadata": meta}
    violations = problems({"metadata": meta}, {"properties": {"metadata": METADATA_SCHEMA}})
    violations += problems(new, place.resource.schema)
    if violations:
        raise errors.invalid(place.resource, place.name or str(meta.get("name", "")), violations)
    return new


def _content(value: Json) -> Json:
    return {k: v for k, v in value.items() if k != "metadata"}


def _uid_conflict(place: Place, wanted: str, old: Json) -> errors.ApiError:
    cause = f"Precondition failed: UID in precondition: {wanted}, UID in object meta: {old['metadata']['uid']}"
    return errors.conflict(place.resource, place.name, cause)
