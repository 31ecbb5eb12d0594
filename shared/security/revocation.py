"""Sign-out ends access: the sessions that the issuer has ended are polled, and checked before any cached token.

While the issuer cannot be reached, what is known stays known, and expiry decides: an access token is valid for minutes.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Annotated

import msgspec
import structlog

from base.http_client import HttpClient, HttpError
from base.tasks import cancel_and_wait
from observability import metrics

TOKEN_SECONDS = 300.0  # that an access token may be valid at most
INTERVAL = 5.0  # seconds between two polls
TIMEOUT = 4.0  # seconds
MAX_BODY = 1 << 20  # bytes of the list

log = structlog.get_logger(__name__)


class _List(msgspec.Struct):
    revoked: list[Annotated[str, msgspec.Meta(max_length=200)]]


class Revocations:
    """The ids of sessions and tokens that the issuer has ended; `ids` is replaced as a whole."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self.ids: frozenset[str] = frozenset()
        self.now, self.etag = now, ""
        self.until: dict[str, float] = {}  # an issuer may lose its list in a restart

    def poll(self, client: HttpClient) -> None:
        """Read the list; blocks. Raise HttpError, MsgspecError."""
        try:
            response = client.request("GET", "/revoked", headers={"If-None-Match": self.etag} if self.etag else {})
        except HttpError as e:
            if e.status != 304:
                raise
        else:
            listed = msgspec.json.decode(response.content, type=_List).revoked
            self.until |= dict.fromkeys(listed, self.now() + TOKEN_SECONDS)
            self.etag = response.headers.get("etag", "")
        now = self.now()
        self.until = {id: until for id, until in self.until.items() if until > now}
        self.ids = frozenset(self.until)


@asynccontextmanager
async def polled(revocations: Revocations, issuer: str, service: str) -> AsyncIterator[None]:
    """Poll the issuer while the context is open."""
    task = asyncio.create_task(_poll_forever(revocations, issuer, service))
    try:
        yield
    finally:
        await cancel_and_wait(task)


async def _poll_forever(revocations: Revocations, issuer: str, service: str) -> None:
    failing = False
    with HttpClient(issuer, timeout=TIMEOUT, max_body=MAX_BODY) as client:
        while True:
            try:
                await asyncio.to_thread(revocations.poll, client)
            except (HttpError, msgspec.MsgspecError) as e:
                metrics.REVOCATION_POLLS.labels(service, "failed").inc()
                if not failing:
                    log.warning("the issuer's list of revoked sessions cannot be read: expiry decides", error=e)
                failing = True
            else:
                metrics.REVOCATION_POLLS.labels(service, "done").inc()
                if failing:
                    log.info("the issuer's list of revoked sessions is read again")
                failing = False
            await asyncio.sleep(INTERVAL)
