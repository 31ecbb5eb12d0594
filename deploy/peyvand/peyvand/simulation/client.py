"""The public APIs as an officer's client sees them: one address, a token per role, retries under the same key."""

import asyncio
import random
from collections.abc import AsyncIterator, Mapping
from time import monotonic
from typing import Any

import aiohttp

AT_ONCE = 12  # requests under way
ATTEMPTS = 8
PAGE = 200


class Refusal(Exception):
    """The country refused a request; the problem says why."""

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        super().__init__(f"{status} {problem.get('code', '')}: {problem.get('detail', '')} {problem.get('errors', '')}")
        self.status, self.problem = status, problem


class PlatformClient:
    """Asks as whom it is told to; counts what it asked."""

    def __init__(self, base: str) -> None:
        self.base, self.asked = base.rstrip("/"), 0
        self.tokens: dict[tuple[str, str], tuple[str, float]] = {}
        self.gate = asyncio.Semaphore(AT_ONCE)

    async def __aenter__(self) -> "PlatformClient":
        self.http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=120))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.http.close()

    async def token(self, role: str, province: str) -> str:
        """An access token for this role and province, asked for once an hour."""
        known = self.tokens.get((role, province))
        if known and known[1] > monotonic():
            return known[0]
        form = {"grant_type": "client_credentials", "role": role, "sub": f"{role}-{province or 'nation'}"}
        form |= {"province": province} if province else {}
        async with self.http.post(f"{self.base}/issuer/token", data=form) as answer:
            found = await answer.json(content_type=None)
            if answer.status != 200:
                raise Refusal(answer.status, found)
        self.tokens[role, province] = found["access_token"], monotonic() + found["expires_in"] - 60
        return str(found["access_token"])

    async def ask(
        self, method: str, path: str, role: str, province: str = "", *, json: Any = None, csv: str = "", key: str = ""
    ) -> Any:
        """The JSON answer. Troubles that pass are tried again under the same key. Raises Refusal."""
        headers = {"Authorization": f"Bearer {await self.token(role, province)}"} if role else {}
        headers |= {"Idempotency-Key": key} if key else {}
        headers |= {"Cache-Control": "no-cache"} if method == "GET" else {}  # what is stored now, not a second ago
        headers |= {"Content-Type": "text/csv; charset=utf-8"} if csv else {}
        data = csv.encode() if csv else None
        for attempt in range(ATTEMPTS):
            pause = random.uniform(0.1, 0.2 * 2**attempt)
            try:
                async with (
                    self.gate,
                    self.http.request(method, self.base + path, json=json, data=data, headers=headers) as answer,
                ):
                    self.asked += 1
                    if answer.status < 400:
                        return await answer.json(content_type=None)
                    if answer.status not in (429, 502, 503, 504) or attempt == ATTEMPTS - 1:
                        raise Refusal(answer.status, await _problem(answer))
                    pause = max(pause, float(answer.headers.get("Retry-After", 0)))
            except (aiohttp.ClientConnectionError, TimeoutError):
                if attempt == ATTEMPTS - 1:
                    raise
            await asyncio.sleep(pause)
        raise AssertionError("unreachable")

    async def text(self, path: str) -> str:
        """What stands at a public address. Raises Refusal."""
        async with self.http.get(self.base + path, headers={"Cache-Control": "no-cache"}) as answer:
            if answer.status >= 400:
                raise Refusal(answer.status, await _problem(answer))
            return await answer.text()

    async def pages(self, path: str, role: str, province: str) -> AsyncIterator[dict[str, Any]]:
        """All items of a listing, page after page."""
        after, joint = "", "&" if "?" in path else "?"
        while True:
            page = await self.ask(
                "GET", f"{path}{joint}limit={PAGE}{'&after=' + after if after else ''}", role, province
            )
            for item in page["items"]:
                yield item
            after = page.get("next") or ""
            if not after:
                return


async def _problem(answer: aiohttp.ClientResponse) -> Mapping[str, Any]:
    try:
        found: Mapping[str, Any] = await answer.json(content_type=None)
        return found
    except ValueError:
        return {"detail": (await answer.text())[:200]}
