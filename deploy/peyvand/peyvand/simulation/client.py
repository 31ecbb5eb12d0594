"""An asynchronous client of the public APIs for load: a token per role and province, retries under the same key."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from time import monotonic
from typing import Any

import aiohttp

from base.backoff import backoff
from programme.reference import provinces

CONCURRENCY = 12  # requests at a time
ATTEMPTS = 8
BACKOFF, BACKOFF_LIMIT = 0.2, 25.0  # seconds between attempts
TIMEOUT = 120.0  # seconds for a response
PAGE = 200
RETRIED = (429, 502, 503, 504)


class RequestRefused(Exception):
    """The platform refused a request: its status and problem."""

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        super().__init__(f"{status} {problem.get('code', '')}: {problem.get('detail', '')} {problem.get('errors', '')}")
        self.status, self.problem = status, problem


class PlatformClient:
    """Sends requests with the role and province that each call names. Use it as an async context manager."""

    def __init__(self, base: str, timeout: float = TIMEOUT) -> None:
        self.base, self.timeout, self.requests = base.rstrip("/"), timeout, 0
        self.tokens: dict[tuple[str, str, str], tuple[str, float]] = {}
        self.slots = asyncio.Semaphore(CONCURRENCY)

    async def __aenter__(self) -> "PlatformClient":
        self.http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=self.timeout))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.http.close()

    async def token(self, role: str, province: str, person: str = "") -> str:
        """Return an access token for this role and province, a new one before it expires. Raise RequestRefused.

        Each role has one person in each province, besides those that are named.
        """
        known = self.tokens.get((role, province, person))
        if known and known[1] > monotonic():
            return known[0]
        form = {"grant_type": "client_credentials", "role": role, "sub": person or f"{role}-{province or 'nation'}"}
        form |= {"province": province} if province else {}
        async with self.http.post(f"{self.base}/issuer/token", data=form) as response:
            tokens = await response.json(content_type=None)
            if response.status != 200:
                raise RequestRefused(response.status, tokens)
        self.tokens[role, province, person] = tokens["access_token"], monotonic() + tokens["expires_in"] - 60
        return str(tokens["access_token"])

    async def request(
        self,
        method: str,
        path: str,
        role: str,
        province: str = "",
        *,
        person: str = "",
        json: Any = None,
        csv: str = "",
        key: str = "",
    ) -> Any:
        """Return the JSON of a response. Retry transient errors under the same key. Raise RequestRefused."""
        headers = {"Idempotency-Key": key} if key else {}
        headers |= {"Cache-Control": "no-cache"} if method == "GET" else {}  # the present state, not that of a cache
        headers |= {"Content-Type": "text/csv; charset=utf-8"} if csv else {}
        data = csv.encode() if csv else None
        for attempt in range(ATTEMPTS):
            pause = backoff(attempt, BACKOFF, BACKOFF_LIMIT)
            try:
                headers |= {"Authorization": f"Bearer {await self.token(role, province, person)}"} if role else {}
                async with (
                    self.slots,
                    self.http.request(method, self.base + path, json=json, data=data, headers=headers) as response,
                ):
                    self.requests += 1
                    if response.status < 400:
                        return await response.json(content_type=None)
                    if response.status not in RETRIED or attempt == ATTEMPTS - 1:
                        raise RequestRefused(response.status, await _problem(response))
                    pause = max(pause, float(response.headers.get("Retry-After", 0)))
            except (aiohttp.ClientConnectionError, TimeoutError):
                if attempt == ATTEMPTS - 1:
                    raise
            await asyncio.sleep(pause)
        raise AssertionError("the last attempt returns or raises")

    async def set_quotas(self, round_id: str, quotas: Mapping[str, int], key: str) -> None:
        """Set quotas by two persons of the ministry: the one proposes, the other one signs. Raise RequestRefused."""
        rows = "".join(f"{code},{provinces()[code].name_fa},{quota}\n" for code, quota in quotas.items())
        path, role = f"/registration/v1/rounds/{round_id}", "ministry_admin"
        file = "province,name_fa,quota\n" + rows
        made = await self.request("POST", f"{path}/quotas/import", role, csv=file, key=key)
        await self.request(
            "POST",
            f"{path}/proposals/{made['id']}/signature",
            role,
            person="ministry_admin-second",
            json={"control": made["control"]},
            key=f"{key}-signed",
        )

    async def text(self, path: str) -> str:
        """Return the text at a public path. Raise RequestRefused."""
        async with self.http.get(self.base + path, headers={"Cache-Control": "no-cache"}) as response:
            if response.status >= 400:
                raise RequestRefused(response.status, await _problem(response))
            return await response.text()

    async def items(self, path: str, role: str, province: str) -> AsyncIterator[dict[str, Any]]:
        """Yield all items of a listing, page after page. Raise RequestRefused."""
        after, separator = "", "&" if "?" in path else "?"
        while True:
            page = await self.request(
                "GET", f"{path}{separator}limit={PAGE}{'&after=' + after if after else ''}", role, province
            )
            for item in page["items"]:
                yield item
            after = page.get("next") or ""
            if not after:
                return


async def _problem(response: aiohttp.ClientResponse) -> Mapping[str, Any]:
    try:
        problem: Mapping[str, Any] = await response.json(content_type=None)
        return problem
    except ValueError:
        return {"detail": (await response.text())[:200]}
