"""What all pages share: numbers and dates in both languages, charts that obey the content security policy."""

import re
from datetime import UTC, datetime

import pytest
from starlette.applications import Starlette
from starlette.requests import Request

from security.auth import Principal
from web import pages
from web.problems import error, problem


def request_for(path: str, query: bytes = b"", cookie: str = "") -> Request:
    """Return a GET request to an application."""
    app = Starlette()
    headers = [(b"host", b"peyvand.test")] + ([(b"cookie", cookie.encode())] if cookie else [])
    return Request(
        {
            "type": "http",
            "app": app,
            "method": "GET",
            "path": path,
            "query_string": query,
            "headers": headers,
            "server": ("peyvand.test", 80),
            "scheme": "http",
        }
    )


def test_numbers_are_formatted_in_both_languages() -> None:
    assert pages.n(1300, "fa") == "۱٬۳۰۰" and pages.n(1300, "en") == "1,300"
    assert pages.n(52.216, "fa", 2) == "۵۲٫۲۲" and pages.n(None, "fa") == "–"
    assert pages.pct(0.185, "fa") == "\u061c۱۸٫۵٪" and pages.pct(0.185, "en") == "18.5%"
    assert pages.signed(-2.875, "en") == '<bdi dir="ltr">\u22122.88</bdi>'


def test_instant_is_shown_in_tehran_time_and_machine_readable() -> None:
    shown = pages.jtime(datetime(2025, 10, 27, 7, 12, 7, tzinfo=UTC), "fa")
    assert 'datetime="2025-10-27T10:42:07+03:30"' in shown and "۵ آبان ۱۴۰۴" in shown


@pytest.mark.parametrize("most", [0, 1, 216, 217, 9_000, 106_048, 1_000_000])
def test_knots_fit_and_represent_everyone(most: int) -> None:
    scale = pages.knots_scale(most)
    assert most <= scale * pages.KNOTS_PER_ROW * pages.KNOTS_PER_COLUMN
    drawn = pages.knots(most, scale).count("h8v8h-8z")
    assert drawn == (max(1, round(most / scale)) if most else 0)


def test_charts_have_no_inline_style() -> None:
    charts = [
        pages.bar(52.2),
        pages.bar(130, mark=50),
        pages.share_bar(0.35, 0.2, 0.5),
        pages.spark([3, 2, 1], 31),
        pages.strip([10, 20], 15),
        pages.knots(1_000, 10, 500),
    ]
    for chart in charts:
        assert "style=" not in chart and 'aria-hidden="true"' in chart
    assert 'width="100.0"' in pages.bar(130), "a bar is never longer than its scale"


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 409, 413, 414, 418, 422, 429, 500, 502, 503, 504])
def test_error_page_is_complete_in_both_languages(status: int) -> None:
    body = problem("malformed", status=status, instance="r-17")
    for query, direction in ((b"", "rtl"), (b"lang=en", "ltr")):
        response = pages.error_page(request_for("/missing", query), body)
        page = bytes(response.body).decode()
        assert response.status_code == status and f'dir="{direction}"' in page and "r-17" in page
        assert not re.search(r"<style|style=|<script(?! src)", page)
        assert "شناسهٔ خطا" in page if direction == "rtl" else "Error id:" in page
        assert "کد پیگیری" not in page, "that is the applicant's tracking code"


def refused_page(lang: str, officer: Principal, needed: frozenset[str]) -> str:
    """Return the page of who may not go on."""
    request = request_for("/screening/", f"lang={lang}".encode())
    request.scope["peyvand.refused"] = officer, needed
    return bytes(pages.error_page(request, problem("forbidden", instance="r-17")).body).decode()


def test_who_may_not_go_on_learns_the_role_and_can_change_it() -> None:
    officer = Principal("of-1", frozenset({"registrar"}), "IR-20")
    needed = frozenset({"screener", "manager", "service"})
    persian, english = refused_page("fa", officer, needed), refused_page("en", officer, needed)
    assert "مسئول ثبت‌نام" in persian and "این صفحه برای کارشناس پایش است" in persian and "یا مدیر اجرایی طرح" in persian
    assert "signed in as Registrar" in english and "or Executive manager" in english and "Service" not in english
    for page in (persian, english):
        assert 'method="post" action="/sign-in/end"' in page and 'action="/sign-in/end?to=/work"' in page
        assert 'class="btn btn-primary" href="/work"' in page and "r-17" in page
        assert "/registration/desk/register" in page and "/operations" not in page, "only what the role may open"


@pytest.mark.parametrize(
    ("held", "needed", "first"),
    [
        ("screener", {"ministry_admin", "jahad_national", "manager", "registrar"}, "registrar"),
        ("registrar", {"jahad_national", "manager", "labour_expert", "screener", "auditor"}, "screener"),
        ("analyst", {"manager", "operator", "auditor"}, "auditor"),
        ("manager", {"ministry_admin", "service"}, "ministry_admin"),
    ],
)
def test_the_nearest_role_of_the_same_area_is_named_first(held: str, needed: set[str], first: str) -> None:
    found = pages.nearest_roles(needed, {held})
    assert found[0] == first and set(found) == needed - {"service"}


def test_an_error_id_is_nine_digits_that_follow_from_the_request() -> None:
    instance = "urn:peyvand:request:4bf92f3577b34da6a3ce929d0e0e4736"
    assert re.fullmatch(r"\d{3}-\d{3}-\d{3}", pages.error_digits(instance, "en"))
    assert pages.error_digits(instance, "fa").translate(str.maketrans("۰۱۲۳۴۵۶۷۸۹", "0123456789")) == (
        pages.error_digits(instance, "en")
    )
    ids = {pages.error_digits(f"x:{n:032x}", "en") for n in range(1_000)}
    assert len(ids) == 1_000 and pages.error_digits("x:r-17", "en") == "r-17"


def test_who_is_not_signed_in_learns_nothing_about_roles() -> None:
    page = bytes(pages.error_page(request_for("/x"), problem("forbidden", instance="r-17")).body).decode()
    assert "/sign-in/end" not in page and "r-17" in page


@pytest.mark.parametrize(
    ("wait", "fa", "en"),
    [
        (1, "۱ ثانیه صبر کنید", "Please wait 1 second<"),
        (40, "۴۰ ثانیه صبر کنید", "Please wait 40 seconds"),
        (200, "۴ دقیقه صبر کنید", "Please wait 4 minutes"),
        (7_200, "۱۲۰ دقیقه صبر کنید", "Please wait 120 minutes"),
    ],
)
def test_a_limit_names_how_long_and_until_when(wait: int, fa: str, en: str) -> None:
    body = problem("too_many_requests", instance="r-17", seconds=wait)
    for lang, heading in (("fa", fa), ("en", en)):
        request = request_for("/x", f"lang={lang}".encode())
        page = bytes(pages.error_page(request, body, wait).body).decode()
        assert heading in page
        assert re.search("ساعت [۰-۹]{2}:[۰-۹]{2}" if lang == "fa" else "from .*[0-9]{2}:[0-9]{2}", page)


def test_an_instant_is_rounded_up_to_the_minute() -> None:
    assert pages.clock(datetime(2025, 10, 27, 7, 12, 7, tzinfo=UTC), "fa") == "۱۰:۴۳"
    assert pages.clock(datetime(2025, 10, 27, 7, 12, tzinfo=UTC), "en") == "10:42"


def test_an_invalid_request_names_each_field() -> None:
    errors = [error("table", "code_unknown"), error("limit", "number_too_large", limit=100)]
    body = problem("value_invalid", instance="r-17", errors=errors)
    for lang in ("fa", "en"):
        page = bytes(pages.error_page(request_for("/ranking", f"lang={lang}".encode()), body).body).decode()
        assert page.count('<li><span class="code">') == 2 and "table" in page and "limit" in page
        assert 'role="alert"' in page


def test_the_error_summary_names_the_field_and_links_to_it() -> None:
    macros = pages.shared_pages().parts("macros.html", "en")
    errors = [
        {"field": "mobile", "label": "Mobile", "message": "Enter it."},
        {"field": "unit", "message": "Choose one."},
        {"field": "national_id", "label": "National ID", "message": "Known.", "href": "/registration/tracking"},
    ]
    summary = macros.error_summary(errors, {"unit": "Unit"})
    assert '<a href="#mobile">Mobile: Enter it.</a>' in summary and '<a href="#unit">Unit: Choose one.</a>' in summary
    assert '<a href="/registration/tracking">National ID: Known.</a>' in summary


def test_language_is_kept_in_a_cookie() -> None:
    response = pages.error_page(request_for("/x", b"lang=en"), problem("not_found"))
    assert "peyvand_lang=en" in response.headers["set-cookie"]
    assert pages.lang_of(request_for("/x", cookie="peyvand_lang=en")) == "en"
    assert pages.lang_of(request_for("/x", b"lang=de")) == "fa"


def test_missing_value_raises() -> None:
    template = pages.Pages("web").environment.from_string("{{ missing }}")
    with pytest.raises(Exception, match="missing"):
        template.render()
