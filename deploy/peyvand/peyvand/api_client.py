"""The country's public HTTP API as the command line uses it: one request after the other, refusals in words."""

import json
import os
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from typing import Any

from peyvand.endpoints import Trouble

PATIENCE = 30.0  # seconds for an answer
UNKNOWN = frozenset({502, 504})  # the request may have been carried out


class Refusal(Trouble):
    """The country said no: status, code, and the rows or fields it names."""

    def __init__(self, status: int, problem: Mapping[str, Any], what: str, then: str) -> None:
        super().__init__(what, then)
        self.status, self.problem = status, problem


class Answer:
    """What came back: status, headers and the raw body."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body

    def json(self) -> Any:
        """The body, decoded. Raises Trouble where it is no JSON."""
        try:
            return json.loads(self.body)
        except ValueError as e:
            raise Trouble("the answer is no JSON", "is this the address of a country? see --url") from e


class Client:
    """One person's or script's way in; `token` may be empty for what is public."""

    def __init__(self, public_url: str, token: str = "") -> None:
        if urllib.parse.urlsplit(public_url).scheme not in ("http", "https"):
            raise Trouble(f"{public_url} is no address", "give one that begins with http:// or https://")
        self.public_url, self.token = public_url.rstrip("/"), token

    def get(self, path: str, **query: str | int | None) -> Any:
        """The JSON at this path. Raises Trouble."""
        return self.fetch(path, **query).json()

    def fetch(self, path: str, **query: str | int | None) -> Answer:
        """What is at this path, as it is. Raises Trouble."""
        asked = urllib.parse.urlencode({name: value for name, value in query.items() if value not in (None, "")})
        return self._ask("GET", f"{path}?{asked}" if asked else path, None, {}, PATIENCE)

    def post(
        self, path: str, body: bytes, content_type: str, *, key: str = "", patience: float = PATIENCE, **query: str
    ) -> Answer:
        """Sends a body; `key` makes repeating it harmless. Raises Trouble."""
        headers = {"Content-Type": content_type, **({"Idempotency-Key": key} if key else {})}
        asked = urllib.parse.urlencode(query)
        return self._ask("POST", f"{path}?{asked}" if asked else path, body, headers, patience)

    def _ask(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str], patience: float) -> Answer:
        said = {"Accept": "application/json", **headers}
        if self.token:
            said["Authorization"] = f"Bearer {self.token}"
        request = urllib.request.Request(self.public_url + path, body, said, method=method)
        try:
            with urllib.request.urlopen(request, timeout=patience) as got:
                return Answer(got.status, dict(got.headers), got.read())
        except urllib.error.HTTPError as e:
            with e:
                raise _refusal(e.code, e.read()) from e
        except (urllib.error.URLError, TimeoutError, ConnectionError) as e:
            reason = getattr(e, "reason", e)
            raise Trouble(
                f"{self.public_url} does not answer: {reason}", "is the country up? `peyvand status` tells"
            ) from e


def sign_in(public_url: str, *roles: str, province: str = "", county: str = "", lead: str = "", sub: str = "") -> str:
    """An access token: PEYVAND_TOKEN where it is set, else one of the development issuer's. Raises Trouble."""
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
    body = urllib.parse.urlencode({name: value for name, value in form.items() if value}).encode()
    try:
        answer = Client(public_url).post("/issuer/token", body, "application/x-www-form-urlencoded")
    except Refusal as e:
        if e.status == 404:
            raise Trouble("there is no development issuer here", "set PEYVAND_TOKEN to an access token") from e
        raise Trouble(str(e.problem.get("error_description") or e.what), e.then) from e
    return str(answer.json()["access_token"])


def _refusal(status: int, body: bytes) -> Refusal:
    try:
        problem = json.loads(body)
    except ValueError:
        problem = {}
    problem = problem if isinstance(problem, dict) else {}
    what = problem.get("detail") or problem.get("title") or f"the country answered {status}"
    said = "detail" in problem
    then = {
        401: "sign in again: the token is missing, foreign or too old",
        403: "use a token of a role that may do this",
        404: "" if said else "is this the address of a country? see --url",
        429: "wait a minute and try again",
        503: "nothing was done; try again in a moment",
    }.get(status, "")
    if status in UNKNOWN:
        then = "it may have been done; give the same command again, it is not done twice"
    return Refusal(status, problem, str(what), then)
