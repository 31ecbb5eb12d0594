"""The operations page: the content of `peyvand status` in both languages, for operators only, kept during outages."""

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from observability.health import ReadinessReason
from peyvand.commands.status import Status, required_actions
from peyvand.endpoints import CommandError, ProcessEndpoint, parse_processes
from peyvand.local_cluster.topology import SERVICES
from peyvand.operations_page import OperationsSettings, StatusCache, create
from peyvand.process_status import ProcessStatus
from peyvand.store_status import ServiceStatus
from tests.support.tokens import Issuer

IDLE: dict[str, Any] = {name: 0 for name in ServiceStatus.__struct_fields__ if name != "service"}


def system(**changed: Any) -> Status:
    """Return a healthy status, but for these fields of market."""
    services = tuple(
        ServiceStatus(service=each, **{**IDLE, "stuck": False, **(changed if each == "market" else {})})
        for each in SERVICES
    )
    reasons = (ReadinessReason("database_down", "the database is <away>"),)
    processes = (
        ProcessStatus("reporting-worker", 1, 2, True, (), 0.82, 0.31, 2, {"IR-29": 52.0, "IR-20": 3.0}),
        ProcessStatus(
            "market-api",
            3,
            4,
            not changed,
            reasons if changed else (),
        ),
    )
    at = datetime(2025, 10, 27, 7, 12, 7, tzinfo=UTC)
    found = Status("u", services, processes, event_to_ranking=(0.31, 0.82), at=at)
    return msgspec.structs.replace(found, actions=required_actions(found))


class Page:
    """The page with a given status check."""

    def __init__(self, folder: Path, check: Callable[[], Status]) -> None:
        self.issuer = Issuer(folder)
        settings = OperationsSettings(
            environment="development", kafka="-", mongo="-", jwks=self.issuer.jwks,  # type: ignore[arg-type]
            issuer=self.issuer.name,
        )  # fmt: skip
        self.cache = StatusCache(check)
        transport = httpx.ASGITransport(create(settings, self.cache))
        self.client = httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8080")

    async def get(self, path: str = "", role: str = "operator") -> httpx.Response:
        """Return the response to a user with this role."""
        headers = {"Accept": "text/html", **(self.issuer.bearer(role) if role else {})}
        return await self.client.get(f"/operations{path}", headers=headers)


@pytest.fixture
async def healthy(tmp_path: Path) -> AsyncIterator[Page]:
    page = Page(tmp_path, system)
    async with page.client:
        yield page


@pytest.fixture
async def unhealthy(tmp_path: Path) -> AsyncIterator[Page]:
    page = Page(tmp_path, lambda: system(dead_letters=3, dead_letters_oldest_seconds=2_100.0, lag=9, stuck=True))
    async with page.client:
        yield page


async def test_the_headline_of_a_healthy_system(healthy: Page) -> None:
    page = (await healthy.get()).text
    assert "<h1>همه چیز روان است</h1>" in page and "۰٫۸۲" in page and "خراسان" in page
    assert 'hx-trigger="every 5s"' in page and "style=" not in page and "<style" not in page
    english = (await healthy.get("?lang=en")).text
    assert "<h1>Everything is working</h1>" in english and "0.82" in english and 'dir="ltr"' in english


async def test_each_action_has_its_cause_and_command(unhealthy: Page) -> None:
    for lang in ("fa", "en"):
        page = (await unhealthy.get(f"?lang={lang}")).text
        assert "peyvand dead-letters list --service market" in page and "deploy/runbooks/dead-letters.md" in page
        assert "the database is &lt;away&gt;" in page and "<away>" not in page
    assert "۳ نفر پشت نامهٔ مرده‌اند" in (await unhealthy.get("?lang=fa")).text
    assert "3 things need action" in (await unhealthy.get("?lang=en")).text


async def test_it_is_for_operators_and_others_are_sent_to_the_sign_in(healthy: Page) -> None:
    assert (await healthy.get(role="auditor")).status_code == 200
    assert (await healthy.get(role="analyst")).status_code == 403
    redirect = await healthy.get(role="")
    assert redirect.status_code == 303 and redirect.headers["Location"].startswith("/operations/sign-in?to=/operations")
    assert (await healthy.get("/now", role="applicant")).status_code == 403


async def test_a_held_page_does_not_refresh_and_a_fragment_is_no_page(healthy: Page) -> None:
    held = (await healthy.get("?hold=1")).text
    assert "hx-trigger" not in held and "نگه داشته" in held
    fragment = (await healthy.get("/now")).text
    assert fragment.lstrip().startswith("<h1>") and "<html" not in fragment


async def test_checks_are_shared_and_the_last_good_status_stays(tmp_path: Path) -> None:
    checks = 0

    def check() -> Status:
        nonlocal checks
        checks += 1
        if checks == 2:
            raise CommandError("MongoDB does not answer")
        return system()

    page = Page(tmp_path, check)
    async with page.client:
        for _ in range(5):
            assert (await page.get()).status_code == 200
        assert checks == 1
        page.cache.checked_at = float("-inf")
        text = (await page.get()).text
        assert checks == 2 and "MongoDB does not answer" in text and "همه چیز روان است" in text
        assert "خبر تازه نرسیده" in text


async def test_a_page_before_the_first_status(tmp_path: Path) -> None:
    def fail() -> Status:
        raise CommandError("no platform runs")

    page = Page(tmp_path, fail)
    async with page.client:
        response = await page.get("?lang=en")
        assert response.status_code == 200 and "No status yet" in response.text


def test_processes_are_configured_in_one_line() -> None:
    assert parse_processes("market-api=10.0.0.3:8103, x=[::1]:9") == (
        ProcessEndpoint("market-api", port=8103, host="10.0.0.3"),
        ProcessEndpoint("x", port=9, host="[::1]"),
    )
    for wrong in ("market-api", "a=b", "=h:1", "a=h:x"):
        with pytest.raises(CommandError, match="names no process"):
            parse_processes(wrong)
