"""The operators' page: the same as status, in both languages, for operators only, and it stays when nobody answers."""

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from peyvand.commands.status import SERVICES, ProcessStatus, ServiceStatus, Status, needs
from peyvand.endpoints import Part, Trouble, parts
from peyvand.operations_page import OperationsSettings, Watch, create
from tests.support.tokens import Issuer

QUIET: dict[str, Any] = {name: 0 for name in ServiceStatus.__struct_fields__ if name != "service"}


def system(**changed: Any) -> Status:
    """All is well, but for what is changed at market."""
    services = tuple(
        ServiceStatus(service=each, **{**QUIET, "stuck": False, **(changed if each == "market" else {})})
        for each in SERVICES
    )
    processes = (
        ProcessStatus("reporting-worker", 1, 2, True, (), 0.82, 0.31, 2, {"IR-29": 52.0, "IR-20": 3.0}),
        ProcessStatus("market-api", 3, 4, not changed, ("the database is <away>",) if changed else ()),
    )
    at = datetime(2025, 10, 27, 7, 12, 7, tzinfo=UTC)
    found = Status("u", services, processes, event_to_ranking=(0.31, 0.82), at=at)
    return msgspec.structs.replace(found, needs=needs(found))


class Page:
    """The page over what a test says."""

    def __init__(self, folder: Path, look: Callable[[], Status]) -> None:
        self.issuer = Issuer(folder)
        settings = OperationsSettings(
            environment="development", kafka="-", mongo="-", jwks=self.issuer.jwks,  # type: ignore[arg-type]
            issuer=self.issuer.name,
        )  # fmt: skip
        self.watch = Watch(look)
        transport = httpx.ASGITransport(create(settings, self.watch))
        self.client = httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8080")

    async def get(self, path: str = "", role: str = "operator") -> httpx.Response:
        """By somebody of this role."""
        headers = {"Accept": "text/html", **(self.issuer.bearer(role) if role else {})}
        return await self.client.get(f"/operations{path}", headers=headers)


@pytest.fixture
async def well(tmp_path: Path) -> AsyncIterator[Page]:
    page = Page(tmp_path, system)
    async with page.client:
        yield page


@pytest.fixture
async def ill(tmp_path: Path) -> AsyncIterator[Page]:
    page = Page(tmp_path, lambda: system(parked_faulty=3, parked_faulty_oldest_seconds=2_100.0, lag=9, stuck=True))
    async with page.client:
        yield page


async def test_where_all_is_well_the_headline_says_so(well: Page) -> None:
    told = (await well.get()).text
    assert "<h1>همه چیز روان است</h1>" in told and "۰٫۸۲" in told and "خراسان" in told
    assert 'hx-trigger="every 5s"' in told and "style=" not in told and "<style" not in told
    english = (await well.get("?lang=en")).text
    assert "<h1>Everything flows</h1>" in english and "0.82" in english and 'dir="ltr"' in english


async def test_each_trouble_has_its_cause_and_its_command(ill: Page) -> None:
    for lang in ("fa", "en"):
        told = (await ill.get(f"?lang={lang}")).text
        assert "peyvand dead-letters list --service market" in told and "deploy/runbooks/dead-letters.md" in told
        assert "the database is &lt;away&gt;" in told and "<away>" not in told
    assert "۳ نفر پشت نامهٔ مرده‌اند" in (await ill.get("?lang=fa")).text
    assert "3 things wait for you" in (await ill.get("?lang=en")).text


async def test_it_is_for_operators_and_others_are_led_to_the_sign_in(well: Page) -> None:
    assert (await well.get(role="auditor")).status_code == 200
    assert (await well.get(role="council")).status_code == 403
    away = await well.get(role="")
    assert away.status_code == 303 and away.headers["Location"].startswith("/operations/sign-in?to=/operations")
    assert (await well.get("/now", role="applicant")).status_code == 403


async def test_a_held_page_does_not_change_and_a_part_is_only_the_part(well: Page) -> None:
    held = (await well.get("?hold=1")).text
    assert "hx-trigger" not in held and "نگه داشته" in held
    part = (await well.get("/now")).text
    assert part.lstrip().startswith("<h1>") and "<html" not in part


async def test_one_look_for_all_and_the_last_good_one_stays(tmp_path: Path) -> None:
    looks = 0

    def look() -> Status:
        nonlocal looks
        looks += 1
        if looks == 2:
            raise Trouble("MongoDB cannot be asked")
        return system()

    page = Page(tmp_path, look)
    async with page.client:
        for _ in range(5):
            assert (await page.get()).status_code == 200
        assert looks == 1
        page.watch.looked_at = float("-inf")
        told = (await page.get()).text
        assert looks == 2 and "MongoDB cannot be asked" in told and "همه چیز روان است" in told
        assert "خبر تازه نرسیده" in told


async def test_before_the_first_look_it_says_so(tmp_path: Path) -> None:
    def nobody() -> Status:
        raise Trouble("no country runs")

    page = Page(tmp_path, nobody)
    async with page.client:
        told = await page.get("?lang=en")
        assert told.status_code == 200 and "Nothing is known yet" in told.text


def test_which_processes_are_asked_is_told_in_one_line() -> None:
    assert parts("market-api=10.0.0.3:8103, x=[::1]:9") == (
        Part("market-api", port=8103, host="10.0.0.3"),
        Part("x", port=9, host="[::1]"),
    )
    for wrong in ("market-api", "a=b", "=h:1", "a=h:x"):
        with pytest.raises(Trouble, match="names no process"):
            parts(wrong)
