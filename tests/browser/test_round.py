"""A whole round by pages alone: every person who takes part does their part in a browser, and nothing else is used.

PEYVAND_SHOTS=FOLDER keeps a picture of each page.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from playwright.async_api import Browser

from peyvand.simulation.people import national_id
from programme import calendar
from programme.text import persian_digits
from tests.browser.application_form import answer_question, answers_of, submit
from tests.browser.pages import check_page
from tests.browser.visitor import DESKTOP, TELEPHONE, Visitor, new_visitor
from tests.support import system as running_system
from tests.support.system import RunningSystem

pytestmark = [pytest.mark.server, pytest.mark.web, pytest.mark.asyncio(loop_scope="session")]

TODAY = calendar.tehran_day(datetime.now(UTC))
ROUND = str(calendar.to_jalali(TODAY)[0])
SEMNAN = "IR-20"
SERIAL = 810_001  # of the synthetic people of this test
SHOTS = os.environ.get("PEYVAND_SHOTS", "")
WITHIN = 30.0  # seconds for what happens by events, on a busy machine


@pytest.fixture(scope="module")
def platform(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSystem]:
    """A platform of its own, as `make up` starts it: nothing in it."""
    with running_system.started(tmp_path_factory.mktemp("round")) as running:
        yield running


class Round:
    """Who takes part opens pages; each page is checked once, on both screens."""

    def __init__(self, browser: Browser, platform: RunningSystem) -> None:
        self.browser, self.url, self.pictures = browser, platform.url, 0

    @asynccontextmanager
    async def officer(self, role: str, start: str, name: str = "همکار یک") -> AsyncIterator[Visitor]:
        """Sign in as an officer of Semnan, or of the ministry, at the page where the work begins."""
        async with new_visitor(self.browser, self.url) as visitor:
            await visitor.go(start)
            page = visitor.page
            await page.locator("#role").select_option(role)
            if await page.locator("#province").is_visible():
                await page.locator("#province").select_option(SEMNAN)
            await page.locator("#name").fill(name)
            await visitor.press("ورود")
            assert page.url == f"{visitor.base}{start}"
            yield visitor
            assert visitor.complaints == []

    @asynccontextmanager
    async def applicant(self) -> AsyncIterator[Visitor]:
        """Open a telephone without JavaScript."""
        async with new_visitor(self.browser, self.url, TELEPHONE, java_script_enabled=False) as visitor:
            yield visitor
            assert visitor.complaints == []

    async def seen(self, visitor: Visitor, name: str, *, scripts: bool = True) -> None:
        """Check the page where scripts run, and keep its picture on both screens."""
        if scripts:
            await check_page(visitor, "fa")
        if SHOTS:
            self.pictures += 1
            for size in (TELEPHONE, DESKTOP):
                await visitor.resize(size, "light")
                await visitor.page.screenshot(
                    path=Path(SHOTS) / f"{self.pictures:02d}-{name}-{size[0]}.png", full_page=True
                )

    async def becomes(self, code: str, heading: str) -> None:
        """Wait until the tracking page shows this heading, as a person who opens it again does."""
        async with self.applicant() as visitor, asyncio.timeout(WITHIN):
            while True:
                await visitor.go(f"/registration/tracking/{code}")
                if heading in await visitor.page.locator("h1").inner_text():
                    break
                await asyncio.sleep(0.5)
            await self.seen(visitor, "tracking", scripts=False)


async def fill(visitor: Visitor, values: dict[str, str]) -> None:
    """Fill in the inputs with these ids."""
    for name, value in values.items():
        element = visitor.page.locator(f"#{name}")
        if await element.evaluate("each => each.tagName") == "SELECT":
            await element.select_option(value)
        else:
            await element.fill(value)


async def register_at_desk(visitor: Visitor, serial: int, first_name: str) -> str:
    """Register a person as a registrar does; return the tracking code that they take home."""
    await visitor.go("/registration/desk/register")
    answers = {name: value for answer in answers_of(national_id(serial)).values() for name, value in answer.items()}
    birth = f"{answers.pop('year')}/{answers.pop('month')}/{answers.pop('day')}"
    del answers["province"]
    await fill(visitor, answers | {"birth_date": birth, "first_name": first_name})
    await visitor.page.locator("#consent").check()
    await visitor.press("ثبت‌نام")
    return await visitor.page.locator(".notice .code").inner_text()


async def answer_all(visitor: Visitor, answer: str) -> None:
    """Answer every question of the telephone call alike."""
    questions = visitor.page.locator(f"[name^='rule.'][value={answer}]")
    for n in range(await questions.count()):
        await questions.nth(n).check()


async def next_case(visitor: Visitor) -> str:
    """Claim the next case; return its address. The queue has the registrations within seconds."""
    async with asyncio.timeout(WITHIN):
        while True:
            await visitor.go("/screening/")
            await visitor.press("برداشتن پروندهٔ بعدی")
            if "/cases/" in visitor.page.url:
                return visitor.page.url.removeprefix(visitor.base)
            await asyncio.sleep(0.5)


async def called(visitor: Visitor, name: str) -> None:
    """See whom to call, in the frame that registration serves."""
    frame = visitor.page.frame_locator("iframe.frame-person")
    await frame.get_by_role("button", name="نمایش نام و شماره").click(timeout=WITHIN * 1000)
    await frame.get_by_role("heading", name=name).wait_for()
    assert (await frame.locator("a.tel").get_attribute("href") or "").startswith("tel:+989")


async def decide(visitor: Visitor, outcome: str, *reasons: str) -> None:
    """Answer the questions, and record the decision."""
    await answer_all(visitor, "yes" if outcome == "approve" else "no")
    await visitor.page.locator(f"#d-{outcome}").check()
    for each in reasons:
        await visitor.page.locator(f"#r-{each}").check()
    await visitor.press("ثبت تصمیم")
    assert "ثبت شد" in await visitor.page.get_by_role("status").inner_text()


async def find(visitor: Visitor, code: str) -> None:
    """Find the person who is at the desk, by the tracking code."""
    await visitor.go("/registration/desk")
    await fill(visitor, {"query": code, "reason": "visitor"})
    await visitor.press("یافتن")


async def act(visitor: Visitor, name: str, number: int) -> None:
    """Act for the person by a form that they signed, over the page of review."""
    page = visitor.page
    await page.locator("summary", has_text=name).click()
    form = page.locator("details.act[open]")
    await form.locator("[name=form]").fill(f"{SEMNAN[3:]}-1404-{number}")
    await visitor.follow(form.get_by_role("button", name="ادامه به مرور"))
    await visitor.press("درست است، ثبت کن")


async def open_round(round_: Round) -> None:
    """The ministry opens the round with one seat for Semnan; a second person signs it."""
    async with round_.officer("ministry_admin", "/registration/rounds") as ministry:
        await round_.seen(ministry, "no-round")
        last = calendar.jalali_text(TODAY + timedelta(30))
        first = persian_digits(calendar.jalali_text(TODAY))
        await fill(ministry, {"round": persian_digits(ROUND), "opens": first, "closes": last})
        await ministry.press("ثبت دوره")
        assert await ministry.page.get_by_role("status").is_visible()
        await round_.seen(ministry, "round-open")
        await ministry.go("/registration/proposals/new")
        await round_.seen(ministry, "proposal-new")
        await fill(ministry, {"province": SEMNAN, "quota": "۱"})
        await ministry.follow(ministry.page.locator("form[action$='/quota'] [type=submit]"))
        await round_.seen(ministry, "proposed")
        assert await ministry.page.get_by_role("button", name="امضا و اجرا").count() == 0, "who proposes does not sign"
        proposal = ministry.page.url.removeprefix(ministry.base)
    async with round_.officer("ministry_admin", proposal, "همکار دو") as second:
        await round_.seen(second, "proposal-to-sign")
        await second.press("امضا و اجرا")
        await round_.seen(second, "signed")


async def register_three(round_: Round) -> tuple[str, str, str]:
    """Two people come to the desk, one registers on a telephone; return the tracking codes in their order."""
    async with round_.officer("registrar", "/registration/desk/register") as registrar:
        await round_.seen(registrar, "desk-register")
        first = await register_at_desk(registrar, SERIAL, "مریم")
        await round_.seen(registrar, "registered")
    async with round_.applicant() as applicant:
        await applicant.go("/registration/apply")
        await applicant.press("شروع ثبت‌نام", "link")
        for answer in answers_of(national_id(SERIAL + 1)).values():
            await answer_question(applicant, answer)
        await submit(applicant)
        await round_.seen(applicant, "done", scripts=False)
        second = await applicant.page.locator(".notice .code").inner_text()
    async with round_.officer("registrar", "/registration/desk/register") as registrar:
        return first, second, await register_at_desk(registrar, SERIAL + 2, "زهرا")


async def screen(round_: Round) -> None:
    """The screener calls all three: asks the first for a paper, approves the second, rejects the third."""
    async with round_.officer("screener", "/screening/") as screener:
        await next_case(screener)
        await called(screener, "مریم آزمون")
        await round_.seen(screener, "case")
        await screener.follow(screener.page.locator("main a[href$='/info']"))
        await screener.page.locator("[name=items]").first.check()
        await round_.seen(screener, "ask-for-papers")
        await screener.press("درخواست مدرک")
        await next_case(screener)
        await called(screener, "مریم آزمون")
        await decide(screener, "approve")
        await next_case(screener)
        await called(screener, "زهرا آزمون")
        await decide(screener, "reject", "insured")


async def bring_the_paper(round_: Round, code: str) -> None:
    """The registrar records that the paper came, and the screener approves."""
    async with round_.officer("registrar", "/registration/desk") as registrar:
        await find(registrar, code)
        await round_.seen(registrar, "person-papers")
        await registrar.follow(registrar.page.locator("main a[href$='/info']"))
        await registrar.page.locator("[name=items]").first.check()
        await registrar.press("ثبت رسیدن مدرک")
        await round_.seen(registrar, "papers-came")
    async with round_.officer("screener", "/screening/") as screener:
        await next_case(screener)
        await called(screener, "مریم آزمون")
        await decide(screener, "approve")


async def test_a_round_by_pages_alone(browser: Browser, platform: RunningSystem) -> None:
    round_ = Round(browser, platform)
    await open_round(round_)
    first, second, third = await register_three(round_)
    await screen(round_)
    await round_.becomes(first, "مدرک")
    await round_.becomes(second, "در سهمیهٔ استان پذیرفته شدید")
    await round_.becomes(third, "پذیرفته نشد")
    await bring_the_paper(round_, first)
    await round_.becomes(first, "در فهرست انتظار")

    async with round_.officer("registrar", "/registration/desk") as registrar:
        await find(registrar, third)
        await act(registrar, "اعتراض", 1)
        await round_.seen(registrar, "appeal-filed")
    async with round_.officer("manager", "/screening/?state=appealed", "مدیر") as manager:
        await manager.follow(manager.page.locator("tbody th[scope=row] a").first)
        await round_.seen(manager, "appeal")
        await decide(manager, "approve")
    await round_.becomes(third, "در فهرست انتظار")

    async with round_.officer("registrar", "/registration/desk") as registrar:
        await find(registrar, second)
        await round_.seen(registrar, "person")
        await act(registrar, "انصراف", 2)
        await round_.seen(registrar, "withdrawn")
    await round_.becomes(second, "انصراف")
    await round_.becomes(first, "در سهمیهٔ استان پذیرفته شدید")

    async with round_.officer("manager", f"/registration/ledger/{SEMNAN}", "مدیر") as manager:
        await round_.seen(manager, "ledger")
        assert "۱" in await manager.page.locator("main").inner_text()
        await manager.go(f"/registration/ledger/{SEMNAN}/waiting")
        await round_.seen(manager, "waiting-list")

    async with round_.officer("screener", "/screening/?state=awaiting_capacity") as screener:
        await screener.follow(screener.page.locator("tbody th[scope=row] a").first)
        await called(screener, "مریم آزمون")
        for name in ("product_group", "unit", "monthly_band", "skill_level"):
            await screener.page.locator(f"#{name}").select_option(index=1)
        await round_.seen(screener, "capacity")
        await screener.press("ثبت ظرفیت")
    await round_.becomes(first, "ظرفیت شما شناسایی شد")

    async with round_.officer("registrar", "/registration/desk") as registrar:
        await find(registrar, first)
        await act(registrar, "کد پیگیری تازه", 3)
        await round_.seen(registrar, "another-code")
        another = await registrar.page.locator(".notice .code").inner_text()
        await registrar.go(f"/registration/tracking/{first}", 404)
    await round_.becomes(another, "ظرفیت شما شناسایی شد")

    async with round_.officer("manager", "/registration/desk", "مدیر") as manager:
        await find(manager, third)
        await manager.press("پاک کردن داده‌ها برای همیشه", "link")
        await fill(manager, {"form_number": f"{SEMNAN[3:]}-1404-4"})
        await manager.page.locator("#confirmed").check()
        await round_.seen(manager, "erasure")
        await manager.press("پاک کن")
        await round_.seen(manager, "erased")
    await round_.becomes(third, "پاک شده")
