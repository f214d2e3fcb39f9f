"""One watch: a line of JSON for each change, until its timeout or until the server stops."""

import asyncio
import json

from aiohttp import web

from agent.sandbox.api import errors
from agent.sandbox.api.errors import ApiError
from agent.sandbox.api.schema import Json
from agent.sandbox.api.store import Place, Store

DEFAULT_SECONDS = 1800.0


async def watch(request: web.Request, place: Place, store: Store, closing: asyncio.Event) -> web.StreamResponse:
    """Changes after `resourceVersion`; without one (or 0) what there is, and then the changes.

    A version that was dropped gives an ERROR line with 410 in a 200 answer, as the real server does.
    Kubernetes does not guarantee bookmarks, so `allowWatchBookmarks` gives none.
    """
    if "labelSelector" in request.query:
        raise errors.bad_request("this server watches by no label")
    version, seconds = _number(request, "resourceVersion", 0), _number(request, "timeoutSeconds", 0)
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(request)
    there = store.find(place) if version == 0 else []
    version = version or store.version
    for body in there:
        await _line(response, "ADDED", body)
    try:
        async with asyncio.timeout(seconds or DEFAULT_SECONDS):
            await _follow(response, place, store, version, closing)
    except ApiError as error:
        await _line(response, "ERROR", error.body)
    except TimeoutError:
        pass  # its timeout, the normal end of a watch
    return response


async def _follow(
    response: web.StreamResponse, place: Place, store: Store, version: int, closing: asyncio.Event
) -> None:
    while not closing.is_set():
        news = store.news()
        for change in store.since(version, place):
            await _line(response, change.kind, change.object)
            version = change.version
        await news.wait()


def _number(request: web.Request, key: str, default: int) -> int:
    text = request.query.get(key) or str(default)
    if not text.isdecimal():
        raise errors.bad_request(f"invalid {key}: {text}")
    return int(text)


async def _line(response: web.StreamResponse, kind: str, body: Json) -> None:
    await response.write(json.dumps({"type": kind, "object": body}).encode() + b"\n")
