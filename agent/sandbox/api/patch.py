"""The two kinds of patch that custom resources take: JSON merge patch (RFC 7386), JSON patch (RFC 6902)."""

import json
from collections.abc import Callable
from typing import Any

import jsonpatch

from agent.sandbox.api import errors
from agent.sandbox.api.schema import Json

MERGE = "application/merge-patch+json"
OPERATIONS = "application/json-patch+json"


def reader(content_type: str, text: bytes) -> Callable[[Json], Json]:
    """The patch as a function of the object. Raises ApiError: 415, or 400 where it is not a patch."""
    match content_type:
        case "application/merge-patch+json":
            return _merge_patch(text)
        case "application/json-patch+json":
            return _operations(text)
        case _:
            raise errors.unsupported_type([OPERATIONS, MERGE])


def _merge_patch(text: bytes) -> Callable[[Json], Json]:
    try:
        patch = json.loads(text)
    except ValueError as error:
        raise errors.bad_request(f"error decoding patch: {error}") from error
    if not isinstance(patch, dict):
        raise errors.bad_request("error decoding patch: it is not an object")
    return lambda whole: merge(whole, patch)


def merge(whole: Any, patch: Any) -> Any:
    """RFC 7386: objects merge, null removes, anything else replaces."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(whole) if isinstance(whole, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge(merged.get(key), value)
    return merged


def _operations(text: bytes) -> Callable[[Json], Json]:
    try:
        patch = jsonpatch.JsonPatch(json.loads(text))
    except (ValueError, TypeError, jsonpatch.JsonPatchException) as error:
        raise errors.bad_request(f"error decoding patch: {error}") from error
    return lambda whole: _applied(patch, whole)


def _applied(patch: jsonpatch.JsonPatch, whole: Json) -> Json:
    """Raises ApiError 422 where a path is missing or a `test` fails."""
    try:
        result = patch.apply(whole)
    except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException) as error:
        raise errors.rejected(str(error)) from error
    if not isinstance(result, dict):
        raise errors.rejected("the patched object is not an object")
    return result
