"""What every page of the platform must fulfil, for tests with a browser."""

from tests.browser.visitor import DESKTOP, TELEPHONE, Visitor

LANGUAGES = {"fa": "rtl", "en": "ltr"}


async def check_page(visitor: Visitor, lang: str) -> None:
    """Check language, fonts, width and accessibility of the open page on both screens."""
    page = visitor.page
    assert await page.locator("h1").count() == 1
    assert await page.locator("html").get_attribute("lang") == lang
    assert await page.locator("html").get_attribute("dir") == LANGUAGES[lang]
    assert await page.evaluate("document.fonts.ready.then(() => document.fonts.check('16px Vazirmatn'))")
    assert "Vazirmatn" in await page.evaluate("getComputedStyle(document.body).fontFamily")
    # both languages together cover each screen in light and in dark
    for size, scheme in (
        (DESKTOP, "light" if lang == "fa" else "dark"),
        (TELEPHONE, "dark" if lang == "fa" else "light"),
    ):
        await visitor.resize(size, scheme)
        assert await visitor.overflows() == [], size
        assert await visitor.accessibility_violations() == [], (size, scheme)
    assert visitor.complaints == []


def with_language(path: str, lang: str) -> str:
    """Return the path in a language."""
    return f"{path}{'&' if '?' in path else '?'}lang={lang}"
