"""Refusals over HTTP: problem details (RFC 9457) with a code and its message in Persian and English.

Raise `Refused(code, field, **details)` anywhere below a route, or `Invalid([...])` for several fields at once. The
status follows from the kind of the code in `programme.messages`.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from http import HTTPStatus
from itertools import islice
from typing import Any
from urllib.parse import quote

import msgspec
import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError
from pymongo.errors import ConnectionFailure, PyMongoError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from base.forms import is_form
from contracts.commands import Refused
from kernel.errors import Fenced, KeyReused, NewerRules, Transient, UniqueViolation, UnreadableRecord
from kernel.record import RecordFull
from observability import metrics
from programme.messages import MESSAGES, message_text, problem_body
from security.auth import Unauthenticated

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER = 2  # seconds, unless the refusal names a time
MAX_ERRORS = 100  # of one request

_BY_STATUS = {
    400: "malformed",
    401: "unauthenticated",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    408: "body_too_slow",
    413: "too_large",
    414: "address_too_long",
    415: "media_type",
    422: "value_invalid",
    429: "too_many_requests",
    503: "unavailable",
}
_BY_PYDANTIC = {
    "missing": ("missing_field", ""),
    "extra_forbidden": ("unknown_field", ""),
    "string_too_long": ("too_long", "max_length"),
    "string_too_short": ("too_short", "min_length"),
    "too_long": ("too_many_items", "max_length"),
    "too_short": ("too_few_items", "min_length"),
    "greater_than_equal": ("number_too_small", "ge"),
    "less_than_equal": ("number_too_large", "le"),
    "greater_than": ("value_invalid", ""),
    "less_than": ("value_invalid", ""),
    "literal_error": ("code_unknown", ""),
    "enum": ("code_unknown", ""),
    "string_pattern_mismatch": ("value_invalid", ""),
    "value_error": ("value_invalid", ""),
    "assertion_error": ("value_invalid", ""),
}

_NAME = re.compile(r"(?!.*\d{5})[A-Za-z][A-Za-z0-9_-]{0,39}")
UNNAMED = "?"  # a field with a name that no field of ours could have

log = structlog.get_logger(__name__)


class Invalid(Exception):
    """Several fields are invalid; one response names them all."""

    def __init__(self, refusals: Sequence[Refused]) -> None:
        super().__init__(", ".join(refused.code for refused in refusals))
        self.refusals = tuple(refusals)


def checked(check: Callable[[str], Any]) -> BeforeValidator:
    """Make a function that raises Refused part of a field's type: `Annotated[str, checked(national_id)]`."""

    def validate(value: Any) -> Any:
        if not isinstance(value, str):
            raise PydanticCustomError("wrong_type", "wrong_type")
        try:
            return check(value)
        except Refused as refused:
            raise PydanticCustomError(refused.code, refused.code, dict(refused.details)) from refused

    return BeforeValidator(validate)


def problem(
    code: str, /, *, status: int = 0, instance: str = "", errors: Iterable[Mapping[str, Any]] = (), **details: Any
) -> dict[str, Any]:
    """Return the body of a refusal; the details fill the placeholders of its message."""
    return _problem(code, details, status, instance, errors)


def _problem(
    code: str, details: Mapping[str, Any], status: int, instance: str, errors: Iterable[Mapping[str, Any]]
) -> dict[str, Any]:
    body = problem_body(code, status, details)
    body["title"] = HTTPStatus(body["status"]).phrase
    body["instance"] = f"urn:peyvand:request:{instance}"
    if listed := list(islice(errors, MAX_ERRORS)):
        body["errors"] = listed
    return body


def code_of(status: int) -> str:
    """Return the code of a refusal of which only the status is known."""
    return _BY_STATUS.get(status, "malformed" if status < 500 else "failed")


def error(field: str, code: str, /, **details: Any) -> dict[str, Any]:
    """Return one entry of the `errors` of a problem."""
    return {
        "field": field,
        "code": code,
        "detail": message_text(code, "en", **details),
        "detail_fa": message_text(code, "fa", **details),
    }


def respond(request: Request, body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Response:
    """Return the problem as JSON, or as a page if a browser requested one."""
    if wants_page(request):
        from web.pages import error_page

        page = error_page(request, body, int((headers or {}).get("Retry-After", 0)))
        page.headers.update(headers or {})
        return page
    return Response(msgspec.json.encode(body), int(body["status"]), headers, MEDIA_TYPE)


def refusal_fields(failure: Exception) -> dict[str, Any]:
    """Return code, field and sentences with which an item of a list reports what a single request would raise."""
    match failure:
        case Refused():
            refused = failure
        case KeyReused():
            refused = Refused("idempotency_key_reused")
        case UniqueViolation():
            refused = Refused("taken")
        case _:  # NewerRules, UnreadableRecord: this version cannot read the record
            refused = Refused("unavailable")
    return {
        "code": refused.code,
        "field": refused.field or None,
        "detail": message_text(refused.code, "en", **refused.details),
        "detail_fa": message_text(refused.code, "fa", **refused.details),
    }


def wants_page(request: Request) -> bool:
    """Return whether a browser requests a page, not a program the API."""
    return "text/html" in request.headers.get("accept", "") and "/v1/" not in request.scope["path"]


def install(app: FastAPI) -> None:
    """Register a handler for every exception that a route may raise."""
    handlers: dict[type[Exception], Any] = {
        Refused: _refused,
        Unauthenticated: _unauthenticated,
        Invalid: _invalid,
        RequestValidationError: _validation,
        HTTPException: _http,
        UniqueViolation: _unique_violation,
        KeyReused: _key_reused,
        RecordFull: _record_full,
        Transient: _unavailable,
        Fenced: _unavailable,
        NewerRules: _unavailable,
        UnreadableRecord: _unavailable,
        PyMongoError: _database,
    }
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)


def request_id(request: Request) -> str:
    """Return the id of this request, as in the log and in X-Request-ID."""
    return str(request.scope.get("peyvand.request_id", ""))


async def _refused(request: Request, e: Refused) -> Response:
    errors = [error(e.field, e.code, **e.details)] if e.field else []
    body = _problem(e.code, e.details, 0, request_id(request), errors)
    headers = {}
    if body["status"] in (429, 503):
        headers["Retry-After"] = str(e.details.get("seconds", RETRY_AFTER))
    return respond(request, body, headers)


async def _unauthenticated(request: Request, e: Unauthenticated) -> Response:
    if e.why != "no token":
        metrics.TOKENS_REFUSED.labels(request.app.state.settings.service).inc()
        log.info("access token refused", reason=e.why)
    sign_in = getattr(request.app.state, "sign_in", "")
    if sign_in and (wants_page(request) or "hx-request" in request.headers):
        query = request.scope["query_string"].decode("latin-1")
        to = request.scope["path"] + (f"?{query}" if query else "")
        is_typed = request.method != "GET" and is_form(request.headers.get("content-type", ""))
        status = 307 if is_typed else 303  # 307: with the form, so that nothing typed is lost; a file is chosen again
        return RedirectResponse(f"{sign_in}?to={quote(to, safe='/')}", status)
    body = problem("unauthenticated", instance=request_id(request))
    challenge = "Bearer" if e.why == "no token" else 'Bearer error="invalid_token"'  # RFC 6750, 3.1
    return respond(request, body, {"WWW-Authenticate": challenge})


async def _invalid(request: Request, e: Invalid) -> Response:
    errors = [error(refused.field, refused.code, **refused.details) for refused in e.refusals]
    return respond(request, problem("value_invalid", instance=request_id(request), errors=errors))


async def _validation(request: Request, e: RequestValidationError) -> Response:
    errors, instance = e.errors(), request_id(request)
    if positions := [each["loc"][-1] for each in errors if each["type"] == "json_invalid"]:
        return respond(request, problem("json_invalid", instance=instance, position=positions[0] + 1))
    if isinstance(e.body, bytes) and e.body and any(each["loc"] == ("body",) for each in errors):
        return respond(request, problem("media_type", instance=instance, expected="application/json"))
    return respond(request, problem("value_invalid", instance=instance, errors=map(_field_error, errors)))


async def _http(request: Request, e: HTTPException) -> Response:
    if e.status_code < 400:
        return Response(status_code=e.status_code, headers=e.headers)
    code = code_of(e.status_code)
    limit = request.scope.get("starlette.max_body_size", 0) // 1024
    body = problem(code, status=e.status_code, instance=request_id(request), limit=limit)
    return respond(request, body, e.headers)


async def _unique_violation(request: Request, e: UniqueViolation) -> Response:
    return respond(request, problem("taken", instance=request_id(request)))


async def _key_reused(request: Request, e: KeyReused) -> Response:
    return respond(request, problem("idempotency_key_reused", instance=request_id(request)))


async def _record_full(request: Request, e: RecordFull) -> Response:
    return respond(request, problem("history_full", instance=request_id(request)), {"Retry-After": "3600"})


async def _unavailable(request: Request, e: Exception) -> Response:
    log.warning("request refused with 503: the store is unavailable", error=e)
    body = problem("unavailable", instance=request_id(request))
    return respond(request, body, {"Retry-After": str(RETRY_AFTER)})


async def _database(request: Request, e: PyMongoError) -> Response:
    if isinstance(e, ConnectionFailure) or e.timeout or e.has_error_label("RetryableWriteError"):
        return await _unavailable(request, e)
    raise e  # a bug, not an outage


def _field_error(each: Mapping[str, Any]) -> dict[str, Any]:
    """Convert an error of pydantic, without its message and input, which may contain personal data."""
    location = each["loc"][1:] if each["loc"] and each["loc"][0] in ("body", "query", "path", "header") else each["loc"]
    field, context = ".".join(map(_name, location)), each.get("ctx", {})
    if each["type"] in MESSAGES:  # from `checked`
        return error(field, each["type"], **context)
    if each["loc"] == ("body",):
        return error("", "body_expected")
    code, limit = _BY_PYDANTIC.get(each["type"], ("wrong_type", ""))
    return error(field, code, **({"limit": context[limit]} if limit in context else {}))


def _name(part: str | int) -> str:
    """Return a part of the place of an error: names as ours are, but nothing else that a client may have written."""
    return str(part) if isinstance(part, int) or _NAME.fullmatch(part) else UNNAMED
