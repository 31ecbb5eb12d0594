"""The owner of a source behind its API, as a consumer asks it: with a token for this owner only."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from time import monotonic
from typing import Any
from urllib.parse import urlencode

import msgspec

from base.http_client import HttpClient
from recovery.reconciliation.owner import History

PATH = "/internal/v1/reconciliation"
TIMEOUT = 30.0  # seconds: the owner reads a whole partition
EARLY = 30.0  # seconds before its end at which a token is replaced


class _Configuration(msgspec.Struct):
    token_endpoint: str


class _Token(msgspec.Struct):
    access_token: str
    expires_in: float


class Tokens:
    """Access tokens of a service for others, by audience (RFC 6749, client credentials)."""

    def __init__(self, issuer: str, client: str, secret: str) -> None:
        self.issuer, self.client, self.secret = issuer, client, secret
        self.kept: dict[str, tuple[float, str]] = {}  # audience -> until when it is used, and the token

    def token(self, audience: str) -> str:
        """Return a token; blocks. Raise HttpError, MsgspecError."""
        until, token = self.kept.get(audience, (0.0, ""))
        if monotonic() >= until:
            with HttpClient(self.issuer) as client:
                found = client.request("GET", "/.well-known/openid-configuration").content
            endpoint = msgspec.json.decode(found, type=_Configuration).token_endpoint
            form = {
                "grant_type": "client_credentials",
                "client_id": self.client,
                "client_secret": self.secret,
                "audience": audience,
            }
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
            origin, _, path = endpoint.partition("://")[2].partition("/")
            with HttpClient(f"{endpoint.partition('://')[0]}://{origin}") as client:
                answer = client.request("POST", f"/{path}", content=urlencode(form).encode(), headers=headers)
            given = msgspec.json.decode(answer.content, type=_Token)
            token = given.access_token
            self.kept[audience] = monotonic() + given.expires_in - EARLY, token
        return token


class RemoteOwner:
    """What `OwnRecords` answers, over HTTP. Each method raises HttpError, MsgspecError."""

    def __init__(self, url: str, audience: str, tokens: Tokens) -> None:
        """`url` is the address of the owner's API with its prefix: `http://registration-api:8000/registration`."""
        self.url, self.audience, self.tokens = url, audience, tokens

    async def digests(self, partition: int, kinds: Collection[str]) -> Sequence[str]:
        found: list[str] = await self._ask(f"partitions/{partition}/digests", {"kinds": list(kinds)}, list[str])
        return found

    async def lines(self, partition: int, kinds: Collection[str], buckets: Collection[int]) -> Sequence[str]:
        body = {"kinds": list(kinds), "buckets": list(buckets)}
        found: list[str] = await self._ask(f"partitions/{partition}/lines", body, list[str])
        return found

    async def histories(self, since: Mapping[str, int]) -> Sequence[History]:
        found: list[History] = await self._ask("histories", {"since": dict(since)}, list[History])
        return found

    async def _ask(self, path: str, body: Any, type_: Any) -> Any:
        return await asyncio.to_thread(self._request, path, body, type_)

    def _request(self, path: str, body: Any, type_: Any) -> Any:
        with HttpClient(self.url, token=self.tokens.token(self.audience), timeout=TIMEOUT) as client:
            response = client.request("POST", f"{PATH}/{path}", json=body)
        return msgspec.json.decode(response.content, type=type_)
