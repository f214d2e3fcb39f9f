"""An embedded Kubernetes API server: only what a host needs, and strict in that.

ExternalWorkload (with a real status subresource), Lease, Event and EndpointSlice; get, list, create, update,
delete, watch, merge patch and JSON patch; SelfSubjectAccessReview; bearer tokens and JWT-SVIDs. Its objects
outlive stop() and start(). Its behaviour is checked against a real kube-apiserver by the same tests. Left out:
watches by label, paging, server-side apply, dry runs, finalizers, owner references' garbage collection. It
evaluates no ValidatingAdmissionPolicy: what those refuse is seen on a real kube-apiserver only.
"""

import asyncio
import json
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NoReturn

from aiohttp import web

from agent.host import serving
from agent.sandbox.api import errors as api_errors
from agent.sandbox.api import faults, patch
from agent.sandbox.api.errors import ApiError, Resource
from agent.sandbox.api.schema import (
    ENDPOINT_SLICE_SCHEMA,
    EVENT_SCHEMA,
    EXTERNAL_WORKLOAD_SCHEMA,
    LEASE_SCHEMA,
    Json,
)
from agent.sandbox.api.store import Place, Store
from agent.sandbox.api.watch import watch
from agent.sandbox.identity.jwt_authority import JwtAuthenticator

EXTERNAL_WORKLOADS = Resource(
    "workload.linkerd.io",
    "v1beta1",
    "externalworkloads",
    "ExternalWorkload",
    EXTERNAL_WORKLOAD_SCHEMA,
    custom=True,
)
LEASES = Resource("coordination.k8s.io", "v1", "leases", "Lease", LEASE_SCHEMA)
EVENTS = Resource("events.k8s.io", "v1", "events", "Event", EVENT_SCHEMA)
SLICES = Resource("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice", ENDPOINT_SLICE_SCHEMA)
RESOURCES = (EXTERNAL_WORKLOADS, LEASES, EVENTS, SLICES)
REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
NOT_IN = "metadata.namespace!="
MOST_BODY = 3 * 1024 * 1024


@dataclass(frozen=True)
class Ask:
    """What a user wants to do, in RBAC's words. `resource`: as `externalworkloads/status`."""

    user: str
    verb: str
    group: str
    resource: str
    namespace: str
    name: str


class ApiServer:
    """`tokens`: bearer token → user, may be changed at any time. `allow`: the permission hook."""

    def __init__(self, tokens: Mapping[str, str], allow: Callable[[Ask], bool] = lambda _: True) -> None:
        self.tokens = dict(tokens)
        self.allow = allow
        self.authenticators: list[JwtAuthenticator] = []  # consulted after the tokens; may be changed at any time
        self.served = frozenset(RESOURCES)  # may be changed at any time, as a CRD may
        self.store = Store()
        self.faults = faults.Faults()
        self.requests = faults.log()
        self.port, self.url = 0, ""
        self._closing = asyncio.Event()
        self._runner: web.AppRunner | None = None
        self._server: asyncio.Server | None = None

    # life ---------------------------------------------------------------------------------------

    async def start(
        self, host: str = "127.0.0.1", port: int = 0, *, ssl_context: ssl.SSLContext | None = None
    ) -> None:
        """Port 0: any free one; `port` and `url` have the result."""
        self._closing = asyncio.Event()
        app = web.Application(client_max_size=MOST_BODY)
        app.router.add_route("*", "/{path:.*}", self._serve)
        app.on_shutdown.append(self._end_streams)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=1.0, access_log=None)
        await self._runner.setup()
        assert self._runner.server is not None
        make = asyncio.get_running_loop().create_server
        self._server = await make(self._runner.server, host, port, ssl=ssl_context, backlog=128)
        self.port = self._server.sockets[0].getsockname()[1]
        self.url = f"{'https' if ssl_context else 'http'}://{host}:{self.port}"

    async def stop(self) -> None:
        if self._server is not None:
            await serving.close(self._server)
            self._server = None
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def cut(self) -> None:
        """Break every open connection, watches too, as when a server is killed or a network fails."""
        for connection in self._runner.server.connections if self._runner and self._runner.server else ():
            if connection.transport is not None:
                connection.transport.abort()

    async def _end_streams(self, _app: web.Application) -> None:
        self._closing.set()
        self.store.wake()
        self.faults.release()

    # for the process that runs it -----------------------------------------------------

    def create(self, body: Json) -> Json:
        """Create `body` in the namespace that it names. Raises ApiError."""
        resource = next(r for r in RESOURCES if (r.api_version, r.kind) == (body["apiVersion"], body["kind"]))
        return self.store.create(Place(resource, body["metadata"]["namespace"]), body)

    def get(self, resource: Resource, namespace: str, name: str) -> Json:
        """Raises ApiError 404."""
        return self.store.get(Place(resource, namespace, name))

    def find(self, resource: Resource, namespace: str) -> list[Json]:
        return self.store.find(Place(resource, namespace))

    def delete(self, resource: Resource, namespace: str, name: str) -> None:
        self.store.delete(Place(resource, namespace, name), {})

    # requests -----------------------------------------------------------------------------------

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        user = self._user(request)
        self.requests.append(_seen(request, body, user))
        if (broken := await self.faults.strike(request)) is not None:
            return broken
        try:
            return await self._answer(request, body, user)
        except ApiError as error:
            return web.json_response(error.body, status=error.code)

    def _user(self, request: web.Request) -> str:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            return _common_name(request)
        users = (one.user(token.strip()) for one in self.authenticators)
        return self.tokens.get(token.strip(), "") or next(filter(None, users), "")

    async def _answer(self, request: web.Request, body: bytes, user: str) -> web.StreamResponse:
        if not user:
            raise api_errors.unauthorized()
        if (request.method, request.path) == ("POST", REVIEWS):
            return web.json_response(self._reviewed(user, _object(body)), status=201)
        place, status = _place(request.path)
        if place.resource not in self.served:
            return web.Response(text="404 page not found\n", status=404)
        place = _selected(place, request)
        verb = _verb(request, place, status)
        self._authorize(
            Ask(user, verb, place.resource.group, _subresource(place, status), place.namespace, place.name)
        )
        if status and not self.store.apart:
            raise api_errors.not_found(place.resource, place.name)
        match verb:
            case "list":
                return web.json_response(_list(place, self.store, _labels(request), _left_out(request)))
            case "watch":
                return await watch(request, place, self.store, self._closing)
            case "get":
                return web.json_response(self.store.get(place))
            case "create":
                return web.json_response(self.store.create(place, _object(body)), status=201)
            case "update":
                return web.json_response(self.store.replace(place, _object(body), status=status))
            case "patch":
                change = patch.reader(request.content_type, body)
                return web.json_response(self.store.patch(place, change, status=status))
            case _:
                return web.json_response(self._deleted(place, body))

    def _reviewed(self, user: str, review: Json) -> Json:
        """Any user may ask about itself."""
        asked = review["spec"]["resourceAttributes"]
        resource = "/".join(filter(None, (asked["resource"], asked.get("subresource", ""))))
        places = asked.get("namespace", ""), asked.get("name", "")
        allowed = self.allow(Ask(user, asked["verb"], asked.get("group", ""), resource, *places))
        return {**review, "status": {"allowed": allowed}}

    def _authorize(self, ask: Ask) -> None:
        if not self.allow(ask):
            _forbid(ask)

    def _deleted(self, place: Place, body: bytes) -> Json:
        options = _object(body) if body else {}
        gone = self.store.delete(place, options.get("preconditions", {}))
        details = {"name": place.name, "group": place.resource.group, "kind": place.resource.plural}
        details["uid"] = gone["metadata"]["uid"]
        return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}


def _common_name(request: web.Request) -> str:
    """Of the client's certificate, where TLS asks for one: the name of a user, as Kubernetes has it."""
    certificate = request.get_extra_info("peercert") or {}
    names = (pair for part in certificate.get("subject", ()) for pair in part)
    return next((str(value) for key, value in names if key == "commonName"), "")


def _forbid(ask: Ask) -> NoReturn:
    resource, _, _ = ask.resource.partition("/")
    text = (
        f'{resource}.{ask.group} "{ask.name}" is forbidden: User "{ask.user}" cannot {ask.verb} resource '
        f'"{ask.resource}" in API group "{ask.group}" in the namespace "{ask.namespace}"'
    )
    raise ApiError(403, "Forbidden", text, {"name": ask.name, "group": ask.group, "kind": resource})


def _seen(request: web.Request, body: bytes, user: str) -> faults.Seen:
    text = body.decode(errors="replace")
    try:
        parsed: object = json.loads(text) if text else None
    except ValueError:
        parsed = text
    return faults.Seen(request.method, request.path, dict(request.query), request.content_type, parsed, user)


def _place(path: str) -> tuple[Place, bool]:
    """/apis/GROUP/VERSION[/namespaces/NAMESPACE]/PLURAL[/NAME[/status]] → what it names, and if its status."""
    match path.strip("/").split("/"):
        case ["apis", group, version, "namespaces", namespace, plural, *rest]:
            pass
        case ["apis", group, version, plural]:
            namespace, rest = "", []
        case _:
            raise api_errors.no_such_path()
    known = (r for r in RESOURCES if (r.group, r.version, r.plural) == (group, version, plural))
    resource = next(known, None)
    if resource is None or len(rest) > 2 or rest[1:] not in ([], ["status"]):
        raise api_errors.no_such_path()
    if len(rest) == 2 and not resource.custom:
        raise api_errors.no_such_path()
    return Place(resource, namespace, rest[0] if rest else ""), len(rest) == 2


def _selected(place: Place, request: web.Request) -> Place:
    """The collection narrowed by fieldSelector: RBAC, too, takes metadata.name for the object's name."""
    for term in filter(None, request.query.get("fieldSelector", "").split(",")):
        if term.startswith(NOT_IN) and "watch" not in request.query:
            continue
        key, _, value = term.replace("==", "=").partition("=")
        match key:
            case "metadata.name":
                place = Place(place.resource, place.namespace, value)
            case "metadata.namespace":
                place = Place(place.resource, value, place.name)
            case _:
                raise api_errors.bad_request(f"field label not supported: {key}")
    return place


def _left_out(request: web.Request) -> set[str]:
    """Namespaces that a list does not want."""
    terms = request.query.get("fieldSelector", "").split(",")
    return {term.removeprefix(NOT_IN) for term in terms if term.startswith(NOT_IN)}


def _labels(request: web.Request) -> dict[str, str]:
    """Of a labelSelector: equality alone."""
    terms = filter(None, request.query.get("labelSelector", "").split(","))
    labels = {}
    for term in terms:
        key, equals, value = term.replace("==", "=").partition("=")
        if not equals or key.endswith("!") or " " in term:
            raise api_errors.bad_request(f"this server does not select by {term!r}")
        labels[key] = value
    return labels


def _verb(request: web.Request, place: Place, status: bool) -> str:
    single = "fieldSelector" not in request.query and place.name
    match request.method, bool(single):
        case "GET", False:
            return "watch" if request.query.get("watch", "") in ("1", "true") else "list"
        case "GET", True:
            return "get"
        case "POST", False if place.namespace:
            return "create"
        case "PUT", True:
            return "update"
        case "PATCH", True:
            return "patch"
        case "DELETE", True if not status:
            return "delete"
        case _:
            raise api_errors.not_allowed()


def _subresource(place: Place, status: bool) -> str:
    return f"{place.resource.plural}/status" if status else place.resource.plural


def _object(body: bytes) -> Json:
    try:
        parsed = json.loads(body)
    except ValueError as error:
        raise api_errors.bad_request(f"the object provided is unrecognized: {error}") from error
    if not isinstance(parsed, dict):
        raise api_errors.bad_request("the object provided is unrecognized: it is not an object")
    return parsed


def _list(place: Place, store: Store, labels: Mapping[str, str], left_out: set[str]) -> Json:
    there = [one for one in store.find(place) if one["metadata"]["namespace"] not in left_out]
    return {
        "kind": f"{place.resource.kind}List",
        "apiVersion": place.resource.api_version,
        "metadata": {"resourceVersion": str(store.version)},
        "items": [one for one in there if labels.items() <= one["metadata"].get("labels", {}).items()],
    }
