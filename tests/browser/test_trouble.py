"""When something is wrong: a page in Persian that says what happened, what is safe, and what to do."""

import os
import signal
from pathlib import Path

import httpx
import pytest
from fastapi import APIRouter
from playwright.async_api import Route

from base.settings import Settings
from tests.browser.small_round import Round
from tests.browser.test_every_page import whole
from tests.browser.visitor import Visit
from tests.support.tokens import Issuer
from web.app import create_app, public

pytestmark = [pytest.mark.server, pytest.mark.web, pytest.mark.asyncio(loop_scope="session")]


async def broken(folder: Path, base: str) -> httpx.Response:
    """What a service answers a person where a rule of ours has a fault."""
    issuer = Issuer(folder)
    settings = Settings(
        service="market",
        environment="development",
        kafka="127.0.0.1:1",
        mongo="mongodb://127.0.0.1:1",  # type: ignore[arg-type]
        database="market",
        port=1,
        public_url=base,
        issuer=issuer.name,
        jwks=issuer.jwks,
    )

    async def ready() -> list[str]:
        return []

    router = APIRouter()

    @router.get("/fault", dependencies=[public()])
    async def fault() -> None:
        raise ZeroDivisionError("nobody thought of this")

    app = create_app(settings, "Broken", lifespan=None, ready=ready, prefix="/market", routers=[router])

    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url=base) as client:
        return await client.get("/market/fault", headers={"Accept": "text/html"})


async def test_a_fault_of_ours_is_told_in_persian(visit: Visit, tmp_path: Path) -> None:
    answer = await broken(tmp_path, visit.base)

    async def fulfil(route: Route) -> None:
        await route.fulfill(status=answer.status_code, headers=dict(answer.headers), body=answer.content)

    await visit.context.route(f"{visit.base}/market/fault", fulfil)
    await visit.go("/market/fault", 500)
    assert "از سوی ما خراب شد" in await visit.page.locator("h1").inner_text()
    told = await visit.page.locator("main").inner_text()
    assert "محفوظ است" in told and "nobody thought" not in told and "ZeroDivision" not in told
    assert await visit.page.locator("main .code").inner_text() == answer.headers["X-Request-ID"]
    await whole(visit, "fa")


async def test_a_service_that_is_away_is_told_by_the_front_door(visit: Visit, the_round: Round) -> None:
    system = the_round.system
    before = system.process("market-api")
    os.kill(before.who.pid, signal.SIGKILL)
    await visit.go("/market/", 503)
    assert "در دسترس نیست" in await visit.page.locator("h1").inner_text()
    await whole(visit, "fa")
    system.back("market-api", before)
    await visit.press("دوباره", "link")
    assert "به بازار می‌رساند" in await visit.page.locator("h1").inner_text()


async def test_asking_too_often_is_told_in_persian(visit: Visit) -> None:
    for _ in range(60):
        answer = await visit.context.request.get("/registration/tracking/AAAAA-AAAAA", headers={"Accept": "text/html"})
        if answer.status == 429:
            break
    refused = await visit.go("/registration/tracking/AAAAA-AAAAA", 429)
    assert int(refused.headers["retry-after"]) >= 1
    assert "کمی صبر کنید" in await visit.page.locator("h1").inner_text()
    await whole(visit, "fa")
