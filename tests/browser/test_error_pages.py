"""Error pages, in Persian: what happened, what is safe, and what to do."""

import os
import signal
from pathlib import Path

import httpx
import pytest
from fastapi import APIRouter
from playwright.async_api import Route

from base.settings import Settings
from observability.health import ReadinessReason
from tests.browser.pages import check_page
from tests.browser.small_round import SmallRound
from tests.browser.visitor import Visitor
from tests.support.tokens import Issuer
from web.app import create_app
from web.authorization import public
from web.pages import error_digits

pytestmark = [pytest.mark.server, pytest.mark.web, pytest.mark.asyncio(loop_scope="session")]


async def failing_response(folder: Path, base: str) -> httpx.Response:
    """Return the response of a service whose route raises an exception."""
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

    async def ready() -> list[ReadinessReason]:
        return []

    router = APIRouter()

    @router.get("/fault", dependencies=[public()])
    async def fault() -> None:
        raise ZeroDivisionError("an unexpected error")

    app = create_app(settings, "Failing", lifespan=None, ready=ready, prefix="/market", routers=[router])

    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url=base) as client:
        return await client.get("/market/fault", headers={"Accept": "text/html"})


async def test_an_internal_error_is_explained_in_persian(visitor: Visitor, tmp_path: Path) -> None:
    response = await failing_response(tmp_path, visitor.base)

    async def fulfil(route: Route) -> None:
        await route.fulfill(status=response.status_code, headers=dict(response.headers), body=response.content)

    await visitor.context.route(f"{visitor.base}/market/fault", fulfil)
    await visitor.go("/market/fault", 500)
    assert "از سوی ما خراب شد" in await visitor.page.locator("h1").inner_text()
    shown = await visitor.page.locator("main").inner_text()
    assert "محفوظ است" in shown and "unexpected error" not in shown and "ZeroDivision" not in shown
    assert await visitor.page.locator("main .code").inner_text() == error_digits(response.headers["X-Request-ID"], "fa")
    await check_page(visitor, "fa")


async def test_the_gateway_explains_that_a_service_is_unavailable(visitor: Visitor, small_round: SmallRound) -> None:
    system = small_round.system
    before = system.process("market-api")
    os.kill(before.identity.pid, signal.SIGKILL)
    await visitor.go("/market/", 503)
    assert "نمی‌توانیم پاسخ بدهیم" in await visitor.page.locator("h1").inner_text()
    await check_page(visitor, "fa")
    system.restarted("market-api", before)
    await visitor.press("دوباره", "link")
    assert "به بازار می‌رساند" in await visitor.page.locator("h1").inner_text()


async def test_a_rate_limit_is_explained_in_persian(visitor: Visitor) -> None:
    path = "/registration/tracking/AAAAA-AAAAA"
    for _ in range(20):  # until no request becomes free between the last one and that of the page
        while (await visitor.context.request.get(path, headers={"Accept": "text/html"})).status != 429:
            continue
        refused = await visitor.page.goto(visitor.base + path)
        assert refused is not None
        if refused.status == 429:
            break
    assert refused is not None and refused.status == 429
    assert int(refused.headers["retry-after"]) >= 1
    assert "ثانیه صبر کنید" in await visitor.page.locator("h1").inner_text()
    await check_page(visitor, "fa")
