"""The platform's public HTTP API as the command line uses it; a refused request becomes a CommandError."""

import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import msgspec

from base.http_client import HttpClient, HttpError
from peyvand.endpoints import CommandError

TIMEOUT = 30.0  # seconds for a response
OUTCOME_UNKNOWN = frozenset({502, 504})  # the request may have been carried out
FORM = "application/x-www-form-urlencoded"


class ApiError(CommandError):
    """The platform refused a request: status and problem, with the rows or fields that it names."""

    def __init__(self, status: int, problem: Mapping[str, Any], message: str, hint: str) -> None:
        super().__init__(message, hint)
        self.status, self.problem = status, problem


class ApiResponse:
    """Status, headers and raw body of a response."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body

    def json(self) -> Any:
        """Return the decoded body. Raise CommandError if it is not JSON."""
        try:
            return msgspec.json.decode(self.body)
        except msgspec.DecodeError as e:
            raise CommandError("the response is not JSON", "is this the address of a platform? see --url") from e


class ApiClient:
    """A client of the public API for one person or script; `token` may be empty for public endpoints."""

    def __init__(self, public_url: str, token: str = "") -> None:
        """Raise CommandError if the URL is no http or https address."""
        if not public_url.startswith(("http://", "https://")):
            raise CommandError(f"{public_url} is no address", "give one that begins with http:// or https://")
        self.public_url, self.token = public_url.rstrip("/"), token

    def get(self, path: str, **query: str | int | None) -> Any:
        """Return the JSON at this path. Raise CommandError."""
        return self.fetch(path, **query).json()

    def fetch(self, path: str, **query: str | int | None) -> ApiResponse:
        """Return the response of a GET. Raise CommandError."""
        return self._request("GET", _with_query(path, query), None, {}, TIMEOUT)

    def post(
        self, path: str, body: bytes, content_type: str, *, key: str = "", timeout: float = TIMEOUT, **query: str
    ) -> ApiResponse:
        """Send a body; `key` is the Idempotency-Key, under which a repeated request has no second effect.

        Raise CommandError.
        """
        headers = {"Content-Type": content_type, **({"Idempotency-Key": key} if key else {})}
        return self._request("POST", _with_query(path, query), body, headers, timeout)

    def put(self, path: str, value: Any, *, key: str = "") -> Any:
        """Set what is at this path to a JSON value, and return the JSON of the response. Raise CommandError."""
        headers = {"Content-Type": "application/json", **({"Idempotency-Key": key} if key else {})}
        return self._request("PUT", path, msgspec.json.encode(value), headers, TIMEOUT).json()

    def _request(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str], timeout: float
    ) -> ApiResponse:
        try:
            with HttpClient(self.public_url, token=self.token, timeout=timeout) as client:
                response = client.request(method, path, content=body, headers={"Accept": "application/json", **headers})
        except HttpError as e:
            if e.response is not None:
                raise _api_error(e.status, e.response.content) from e
            raise CommandError(
                f"{self.public_url} does not answer: {e}", "is the platform up? `peyvand status` shows it"
            ) from e
        return ApiResponse(response.status_code, dict(response.headers), response.content)


def sign_in(public_url: str, *roles: str, province: str = "", county: str = "", lead: str = "", sub: str = "") -> str:
    """Return an access token: PEYVAND_TOKEN if set, else one of the development issuer. Raise CommandError."""
    if given := os.environ.get("PEYVAND_TOKEN"):
        return given
    form = {
        "grant_type": "client_credentials",
        "role": " ".join(roles),
        "province": province,
        "county": county,
        "lead": lead,
        "sub": sub,
    }
    body = urlencode({name: value for name, value in form.items() if value}).encode()
    try:
        response = ApiClient(public_url).post("/issuer/token", body, FORM)
    except ApiError as e:
        if e.status == 404:
            raise CommandError("there is no development issuer here", "set PEYVAND_TOKEN to an access token") from e
        raise CommandError(str(e.problem.get("error_description") or e.message), e.hint) from e
    return str(response.json()["access_token"])


def _with_query(path: str, query: Mapping[str, str | int | None]) -> str:
    encoded = urlencode({name: value for name, value in query.items() if value not in (None, "")})
    return f"{path}?{encoded}" if encoded else path


def _api_error(status: int, body: bytes) -> ApiError:
    try:
        problem = msgspec.json.decode(body)
    except msgspec.DecodeError:
        problem = {}
    problem = problem if isinstance(problem, dict) else {}
    message = problem.get("detail") or problem.get("title") or f"the platform answered {status}"
    hint = {
        401: "sign in again: the token is missing, foreign or expired",
        403: "use a token of a role that may do this",
        404: "" if "detail" in problem else "is this the address of a platform? see --url",
        429: "wait a minute and try again",
        503: "nothing was done; try again in a moment",
    }.get(status, "")
    if status in OUTCOME_UNKNOWN:
        hint = "it may have been done; give the same command again, it is not done twice"
    return ApiError(status, problem, str(message), hint)
