"""Every page on a telephone and a desktop, in both languages, light and dark: correct and accessible."""

import re
from collections.abc import Mapping

import pytest
from playwright.async_api import Browser, Error

from peyvand.simulation.people import national_id
from programme.reference import provinces
from tests.browser.pages import LANGUAGES, check_page, with_language
from tests.browser.small_round import FARS, SEMNAN, WITHOUT_QUOTA, SmallRound
from tests.browser.visitor import Visitor, new_visitor

pytestmark = [pytest.mark.server, pytest.mark.web, pytest.mark.asyncio(loop_scope="session")]

SERIAL = 780_001  # of a synthetic person who is never registered
QUESTIONS = ("province", "county", "national-id", "name", "birth-date", "sex", "mobile", "field", "work-mode")
PUBLIC_PAGES: Mapping[str, tuple[str, int]] = {
    "home": ("/", 200),
    **{f"ranking {table}": (f"/ranking?table={table}", 200) for table in ("composite", "1", "2", "3")},
    "a province": (f"/provinces/{SEMNAN}", 200),
    "a province without a rank": (f"/provinces/{WITHOUT_QUOTA}", 200),
    "the method": ("/method", 200),
    **{
        path: (f"/{path}", 200)
        for path in ("help", "privacy", "accessibility", "status", "data-licence", "data-dictionary")
    },
    "the market": ("/market/", 200),
    "applying": ("/registration/apply", 200),
    "tracking": ("/registration/tracking", 200),
    "a lost code": ("/registration/tracking/lost", 200),
    "an unknown tracking code": ("/registration/tracking/AAAAA-AAAAA", 404),
    "no such page": ("/no-such-page", 404),
    "no such province": ("/provinces/IR-99", 404),
}
STATUSES = ("screening", "waitlisted", "admitted", "capacity_identified", "rejected", "withdrawn")


@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize("name", PUBLIC_PAGES)
async def test_a_public_page(visitor: Visitor, name: str, lang: str) -> None:
    path, status = PUBLIC_PAGES[name]
    await visitor.go(with_language(path, lang), status)
    await check_page(visitor, lang)


@pytest.mark.parametrize("lang", LANGUAGES)
async def test_the_application_form_with_its_errors_and_the_review(visitor: Visitor, lang: str) -> None:
    page = visitor.page
    await visitor.go(with_language("/registration/apply", lang))
    for slug in QUESTIONS:
        await visitor.go(f"/registration/apply/{slug}")
        await check_page(visitor, lang)
        await visitor.follow(page.locator("form.ask [type=submit]"))  # nothing was answered
        assert (await page.title()).startswith(("خطا:", "Error:")) and await page.get_by_role("alert").is_visible()
        await check_page(visitor, lang)
        await answer_question(visitor, slug)
    assert page.url.endswith("/apply/check")
    await check_page(visitor, lang)
    await visitor.follow(page.locator("main [type=submit]"))  # without consent
    assert await page.get_by_role("alert").is_visible()
    await check_page(visitor, lang)


async def answer_question(visitor: Visitor, slug: str) -> None:
    """Answer a question with any valid value and continue."""
    page = visitor.page
    texts = {
        "national-id": {"national_id": national_id(SERIAL)},
        "name": {"first_name": "مریم", "last_name": "نمونه"},
        "birth-date": {"day": "۱۴", "year": "۱۳۶۸"},
        "mobile": {"mobile": "۰۹۱۲۳۴۵۶۷۸۹"},
    }
    for name, text in texts.get(slug, {}).items():
        await page.locator(f"form.ask [name={name}]").fill(text)
    if slug == "birth-date":
        await page.locator("[name=month]").select_option("4")
    elif slug in ("sex", "work-mode"):
        await page.locator("form.ask [type=radio]").first.check()
    elif slug not in texts:
        choice = {"value": SEMNAN} if slug == "province" else {"index": 1}
        await page.locator("form.ask select").select_option(**choice)
    await visitor.follow(page.locator("form.ask [type=submit]"))
    assert not page.url.endswith(f"/{slug}"), await page.locator(".msg-error").all_inner_texts()


@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize("status", STATUSES)
async def test_the_tracking_page_of_each_status(
    visitor: Visitor, small_round: SmallRound, status: str, lang: str
) -> None:
    await visitor.go(with_language(f"/registration/tracking/{small_round.codes[status]}", lang))
    await check_page(visitor, lang)


@pytest.mark.parametrize("lang", LANGUAGES)
async def test_the_pages_of_an_officer(browser: Browser, small_round: SmallRound, lang: str) -> None:
    async with new_visitor(browser, small_round.system.url) as visitor:
        page = visitor.page
        await visitor.go(with_language("/", lang))
        await visitor.go("/screening/")
        assert "/issuer/authorize" in page.url
        await check_page(visitor, lang)
        await page.locator("#role").select_option("screener")
        await page.locator("#province").select_option(SEMNAN)
        await visitor.follow(page.locator("main [type=submit]"))
        assert page.url == f"{visitor.base}/screening/"
        await check_page(visitor, lang)
        await visitor.go("/screening/?f=late")
        assert await page.locator("tbody tr .st-late").count() >= 1
        await check_page(visitor, lang)
        await visitor.go("/screening/?state=awaiting_capacity")
        await check_page(visitor, lang)
        for case in (small_round.open[SEMNAN][0], small_round.awaiting[0]):
            await visitor.go(f"/screening/cases/{case}")
            await check_page(visitor, lang)
            await visitor.follow(page.locator("form.panel [type=submit]"))  # nothing was chosen
            assert await page.get_by_role("alert").is_visible()
            await check_page(visitor, lang)
        foreign = await (await visitor.go(f"/screening/cases/{small_round.open[FARS][0]}", 404)).text()
        missing = await (await visitor.go("/screening/cases/018f0000-0000-7000-8000-000000000000", 404)).text()
        assert _without_ids(foreign) == _without_ids(missing)
        await check_page(visitor, lang)


def _without_ids(page: str) -> str:
    """Return a page without the ids of the request."""
    return re.sub(r"[0-9a-f-]{32,36}|[0-9۰-۹]{3}(-[0-9۰-۹]{3}){2}", "", page)


async def test_the_api_reference_is_served_from_our_host(visitor: Visitor) -> None:
    for path in ("/docs", "/registration/docs"):
        await visitor.go(path)
        await visitor.page.locator(".swagger-ui .info h1, .swagger-ui .info h2").first.wait_for()


async def test_complaints_of_the_browser_are_recorded(browser: Browser, small_round: SmallRound) -> None:
    async with new_visitor(browser, small_round.system.url) as visitor:
        page = visitor.page
        await visitor.go("/method")
        await page.evaluate("document.body.setAttribute('style', 'color: red')")
        await page.evaluate("setTimeout(() => undefinedFunction(), 0)")
        await page.evaluate("document.querySelector('h1').textContent = ' x '.repeat(9) + 'x'.repeat(900)")
        await page.evaluate("document.querySelector('a[href=\"/ranking\"]').setAttribute('aria-hidden', 'true')")
        await page.evaluate("document.documentElement.removeAttribute('lang')")
        assert await visitor.overflows() != []
        assert any("html-has-lang" in each for each in await visitor.accessibility_violations())
        with pytest.raises(Error, match="ERR_NAME_NOT_RESOLVED"):
            await page.goto("http://elsewhere.example/")
        recorded = " ".join(visitor.complaints)
        for complaint in (
            "Content Security Policy",
            "other host: http://elsewhere.example/",
            "undefinedFunction is not defined",
        ):
            assert complaint in recorded


async def test_every_province_has_a_tile_and_a_page(visitor: Visitor) -> None:
    await visitor.go("/")
    tiles = visitor.page.locator(".tiles a")
    found = {await tiles.nth(n).get_attribute("href") for n in range(await tiles.count())}
    assert found == {f"/provinces/{code}" for code in provinces()}
