"""What FastAPI leaves out of an OpenAPI document: problems, action and roles of every route, and raw bodies."""

from collections.abc import Mapping, Sequence
from typing import Any

from programme.messages import message_text
from security.auth import COOKIE, PUBLIC
from web.authorization import AccessPolicy
from web.problems import MEDIA_TYPE, error, problem

MISSING = "x-peyvand-missing"  # in `openapi_extra` of a route without path parameters: the code of its 404
PROBLEM = "#/components/schemas/Problem"


def complete(
    schema: dict[str, Any],
    policies: Mapping[tuple[str, str], AccessPolicy],
    raw: Mapping[tuple[str, str], Sequence[str]],
) -> None:
    """Complete a generated document in place. `policies` and `raw` are by (method, path)."""
    schemas = schema.setdefault("components", {}).setdefault("schemas", {})
    schemas.pop("HTTPValidationError", None)
    schemas.pop("ValidationError", None)
    schemas["Problem"] = _problem_schema()
    schema["components"]["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT (RFC 9068)"},
        "cookie": {"type": "apiKey", "in": "cookie", "name": COOKIE},
    }
    for path, operations in schema.get("paths", {}).items():
        for method, operation in operations.items():
            if media_types := raw.get((method.upper(), path)):
                content = {
                    each: {"schema": {"type": "string"} | ({} if each.startswith("text/") else {"format": "binary"})}
                    for each in media_types
                }
                operation["requestBody"] = {"required": True, "content": content}
            _operation(operation, method, path, policies[method.upper(), path])


def _operation(operation: dict[str, Any], method: str, path: str, policy: AccessPolicy) -> None:
    codes = {400: "malformed", 414: "address_too_long", 429: "too_many_requests", 500: "failed", 503: "unavailable"}
    codes |= {502: "service_interrupted", 504: "service_unresponsive"}  # of what forwards the request
    if policy.action == PUBLIC:
        operation["security"] = []
    else:
        operation["security"] = [{"bearer": []}, {"cookie": []}]
        operation["x-peyvand-action"] = {"action": policy.action, "access": policy.access}
        operation["x-peyvand-roles"] = sorted(policy.roles)
        codes |= {401: "unauthenticated", 403: "forbidden"}
    if "{" in path or MISSING in operation:
        codes[404] = operation.pop(MISSING, "not_found")
    if "requestBody" in operation:
        codes |= {408: "body_too_slow", 413: "too_large", 415: "media_type"}
    if method != "get":
        codes |= {409: "taken"}
    if operation.get("parameters") or "requestBody" in operation:
        codes[422] = "value_invalid"
    responses = operation.setdefault("responses", {})
    for status, code in codes.items():
        if status == 422 or str(status) not in responses:
            responses[str(status)] = _response(code, status)
            if status in (429, 503):
                responses[str(status)]["headers"] = {
                    "Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}}
                }


def _response(code: str, status: int) -> dict[str, Any]:
    details = {"limit": 64, "seconds": 3, "expected": "application/json"}
    errors = [error("mobile", "missing_field")] if code == "value_invalid" else []
    example = problem(code, status=status, instance="01995b7e9d8c7c3e8f0a4b2d6e1f9a37", errors=errors, **details)
    return {
        "description": message_text(code, "en", **details),
        "content": {MEDIA_TYPE: {"schema": {"$ref": PROBLEM}, "example": example}},
    }


def _problem_schema() -> dict[str, Any]:
    text = {"type": "string"}
    return {
        "type": "object",
        "description": "A refusal (RFC 9457), with a code of the programme and its sentence in English and Persian.",
        "required": ["type", "title", "title_fa", "status", "code", "detail", "detail_fa", "instance"],
        "properties": {
            "type": {**text, "format": "uri"},
            "title": text,
            "title_fa": text,
            "status": {"type": "integer", "minimum": 400, "maximum": 599},
            "code": text,
            "detail": text,
            "detail_fa": text,
            "instance": {**text, "format": "uri", "description": "Names this one request, as our log does."},
            "errors": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["field", "code", "detail", "detail_fa"],
                    "properties": {"field": text, "code": text, "detail": text, "detail_fa": text},
                },
            },
        },
    }
