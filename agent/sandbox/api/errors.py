"""Refusals in Kubernetes' form: a Status object and its HTTP code."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from agent.sandbox.api.schema import Json, Problem


@dataclass(frozen=True)
class Resource:
    """A kind of object that the server stores. `custom`: by a CRD, with generation and a status subresource."""

    group: str
    version: str
    plural: str
    kind: str
    schema: Json = field(compare=False, repr=False)
    custom: bool = False

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}"

    @property
    def full_name(self) -> str:
        return f"{self.plural}.{self.group}"


class ApiError(Exception):
    """A refused request. `body`: the Status object."""

    def __init__(self, code: int, reason: str, message: str, details: Json | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.body: Json = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": message,
            "reason": reason,
            **({"details": details} if details else {}),
            "code": code,
        }


def _details(resource: Resource, name: str) -> Json:
    return {"name": name, "group": resource.group, "kind": resource.plural}


def bad_request(message: str) -> ApiError:
    return ApiError(400, "BadRequest", message)


def unauthorized() -> ApiError:
    return ApiError(401, "Unauthorized", "Unauthorized")


def not_found(resource: Resource, name: str) -> ApiError:
    return ApiError(404, "NotFound", f'{resource.full_name} "{name}" not found', _details(resource, name))


def no_such_path() -> ApiError:
    return ApiError(404, "NotFound", "the server could not find the requested resource")


def not_allowed() -> ApiError:
    text = "the server does not allow this method on the requested resource"
    return ApiError(405, "MethodNotAllowed", text)


def exists(resource: Resource, name: str) -> ApiError:
    text = f'{resource.full_name} "{name}" already exists'
    return ApiError(409, "AlreadyExists", text, _details(resource, name))


def conflict(resource: Resource, name: str, cause: str) -> ApiError:
    text = f'Operation cannot be fulfilled on {resource.full_name} "{name}": {cause}'
    return ApiError(409, "Conflict", text, _details(resource, name))


def stale(resource: Resource, name: str) -> ApiError:
    cause = "the object has been modified; please apply your changes to the latest version and try again"
    return conflict(resource, name, cause)


def expired(asked: int, oldest: int) -> ApiError:
    return ApiError(410, "Expired", f"too old resource version: {asked} ({oldest})")


def unsupported_type(accepted: Sequence[str]) -> ApiError:
    text = "the body of the request was in an unknown format - accepted media types include: "
    return ApiError(415, "UnsupportedMediaType", text + ", ".join(accepted))


def invalid(resource: Resource, name: str, causes: Sequence[Problem]) -> ApiError:
    lines = [f"{c.field}: {c.message}" for c in causes]
    text = lines[0] if len(lines) == 1 else "[" + ", ".join(lines) + "]"
    details: Json = {
        "name": name,
        "group": resource.group,
        "kind": resource.kind,
        "causes": [{"reason": c.reason, "message": c.message, "field": c.field} for c in causes],
    }
    subject = f'{resource.kind}.{resource.group} "{name}"'
    return ApiError(422, "Invalid", f"{subject} is invalid: {text}", details)


def rejected(message: str) -> ApiError:
    """A patch that cannot be applied to this object."""
    text = "the server rejected our request due to an error in our request"
    return ApiError(422, "Invalid", text, {"causes": [{"reason": "UnexpectedServerResponse", "message": message}]})
