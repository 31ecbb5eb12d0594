"""Every page on a telephone and on a desk, in both languages, light and dark: quiet, whole, and open to everybody."""

import re
from collections.abc import Mapping

import pytest
from playwright.async_api import Browser, Error

from peyvand.simulation.people import national_id
from programme.reference import provinces
from tests.browser.small_round import FARS, SEMNAN, WITHOUT_QUOTA, Round
from tests.browser.visitor import DESKTOP, TELEPHONE, Visit, visiting

pytestmark = [pytest.mark.server, pytest.mark.web, pytest.mark.asyncio(loop_scope="session")]

SERIAL = 780_001  # of somebody who is never registered
QUESTIONS = ("province", "county", "national-id", "name", "birth-date", "sex", "mobile", "field", "work-mode")
OPEN_TO_ALL: Mapping[str, tuple[str, int]] = {
    "home": ("/", 200),
    **{f"ranking {table}": (f"/ranking?table={table}", 200) for table in ("composite", "1", "2", "3")},
    "a province": (f"/provinces/{SEMNAN}", 200),
    "a province without a rank": (f"/provinces/{WITHOUT_QUOTA}", 200),
    "the method": ("/method", 200),
    "the market": ("/market/", 200),
    "applying": ("/registration/apply", 200),
    "a code to type": ("/registration/tracking", 200),
    "a code that nobody has": ("/registration/tracking/AAAAA-AAAAA", 404),
    "registered": ("/registration/done?code=AAAAA-AAAAA", 200),
    "no such page": ("/no-such-page", 404),
    "no such province": ("/provinces/IR-99", 404),
}
STATUSES = ("screening", "waitlisted", "admitted", "capacity_identified", "rejected", "withdrawn")
LANGUAGES = {"fa": "rtl", "en": "ltr"}


async def whole(visit: Visit, lang: str) -> None:
    """Holds the page that is open to everything that every page must be."""
    page = visit.page
    assert await page.locator("h1").count() == 1
    assert await page.locator("html").get_attribute("lang") == lang
    assert await page.locator("html").get_attribute("dir") == LANGUAGES[lang]
    assert await page.evaluate("document.fonts.ready.then(() => document.fonts.check('16px Vazirmatn'))")
    assert "Vazirmatn" in await page.evaluate("getComputedStyle(document.body).fontFamily")
    # each screen is met in one light with one language and in the other with the other
    for size, scheme in (
        (DESKTOP, "light" if lang == "fa" else "dark"),
        (TELEPHONE, "dark" if lang == "fa" else "light"),
    ):
        await visit.seen_as(size, scheme)
        assert await visit.too_wide() == [], size
        assert await visit.serious() == [], (size, scheme)
    assert visit.noise == []


def in_(path: str, lang: str) -> str:
    """The address in this language."""
    return f"{path}{'&' if '?' in path else '?'}lang={lang}"


@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize("name", OPEN_TO_ALL)
async def test_a_page_that_is_open_to_all(visit: Visit, name: str, lang: str) -> None:
    path, status = OPEN_TO_ALL[name]
    await visit.go(in_(path, lang), status)
    await whole(visit, lang)


@pytest.mark.parametrize("lang", LANGUAGES)
async def test_every_question_and_its_error_and_the_review(visit: Visit, lang: str) -> None:
    page = visit.page
    await visit.go(in_("/registration/apply", lang))
    for slug in QUESTIONS:
        await visit.go(f"/registration/apply/{slug}")
        await whole(visit, lang)
        await visit.follow(page.locator("form.ask [type=submit]"))  # nothing was answered
        assert (await page.title()).startswith(("خطا:", "Error:")) and await page.get_by_role("alert").is_visible()
        await whole(visit, lang)
        await answer(visit, slug)
    assert page.url.endswith("/apply/check")
    await whole(visit, lang)
    await visit.follow(page.locator("main [type=submit]"))  # without consent
    assert await page.get_by_role("alert").is_visible()
    await whole(visit, lang)


async def answer(visit: Visit, slug: str) -> None:
    """Answers a question somehow, and goes on."""
    page = visit.page
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
    await visit.follow(page.locator("form.ask [type=submit]"))
    assert not page.url.endswith(f"/{slug}"), await page.locator(".msg-error").all_inner_texts()


@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize("status", STATUSES)
async def test_an_application_that_is_followed(visit: Visit, the_round: Round, status: str, lang: str) -> None:
    await visit.go(in_(f"/registration/tracking/{the_round.codes[status]}", lang))
    await whole(visit, lang)


@pytest.mark.parametrize("lang", LANGUAGES)
async def test_the_desk(browser: Browser, the_round: Round, lang: str) -> None:
    async with visiting(browser, the_round.system.url) as visit:
        page = visit.page
        await visit.go(in_("/", lang))
        await visit.go("/screening/")
        assert "/issuer/authorize" in page.url
        await whole(visit, lang)
        await page.locator("#role").select_option("screener")
        await page.locator("#province").select_option(SEMNAN)
        await visit.follow(page.locator("main [type=submit]"))
        assert page.url == f"{visit.base}/screening/"
        await whole(visit, lang)
        await visit.go("/screening/?f=late")
        assert await page.locator("tbody tr .st-late").count() >= 1
        await whole(visit, lang)
        await visit.go("/screening/?state=awaiting_capacity")
        await whole(visit, lang)
        for case in (the_round.open[SEMNAN][0], the_round.awaiting[0]):
            await visit.go(f"/screening/cases/{case}")
            await whole(visit, lang)
            await visit.follow(page.locator("main form [type=submit]"))  # nothing was chosen
            assert await page.get_by_role("alert").is_visible()
            await whole(visit, lang)
        foreign = await (await visit.go(f"/screening/cases/{the_round.open[FARS][0]}", 404)).text()
        missing = await (await visit.go("/screening/cases/018f0000-0000-7000-8000-000000000000", 404)).text()
        assert _plain(foreign) == _plain(missing)
        await whole(visit, lang)


def _plain(page: str) -> str:
    """A page without what tells one request from another."""
    return re.sub(r"[0-9a-f-]{32,36}", "", page)


async def test_the_reference_for_programmes_is_ours_too(visit: Visit) -> None:
    for path in ("/docs", "/registration/docs"):
        await visit.go(path)
        await visit.page.locator(".swagger-ui .info h1, .swagger-ui .info h2").first.wait_for()


async def test_what_complains_is_heard(browser: Browser, the_round: Round) -> None:
    async with visiting(browser, the_round.system.url) as visit:
        page = visit.page
        await visit.go("/method")
        await page.evaluate("document.body.setAttribute('style', 'color: red')")
        await page.evaluate("setTimeout(() => nobody(), 0)")
        await page.evaluate("document.querySelector('h1').textContent = ' x '.repeat(9) + 'x'.repeat(900)")
        await page.evaluate("document.querySelector('a[href=\"/ranking\"]').setAttribute('aria-hidden', 'true')")
        await page.evaluate("document.documentElement.removeAttribute('lang')")
        assert await visit.too_wide() != []
        assert any("html-has-lang" in each for each in await visit.serious())
        with pytest.raises(Error, match="ERR_NAME_NOT_RESOLVED"):
            await page.goto("http://elsewhere.example/")
        heard = " ".join(visit.noise)
        for complaint in (
            "Content Security Policy",
            "leaves the host: http://elsewhere.example/",
            "nobody is not defined",
        ):
            assert complaint in heard


async def test_every_province_has_a_tile_and_a_page(visit: Visit) -> None:
    await visit.go("/")
    tiles = visit.page.locator(".tiles a")
    found = {await tiles.nth(n).get_attribute("href") for n in range(await tiles.count())}
    assert found == {f"/provinces/{code}" for code in provinces()}
