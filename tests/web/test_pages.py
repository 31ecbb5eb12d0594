"""The frame of every page: numbers and dates as a reader writes them, marks that obey the policy."""

import re
from datetime import UTC, datetime

import pytest
from starlette.requests import Request

from web import pages


def request_for(path: str, query: bytes = b"", cookie: str = "") -> Request:
    headers = [(b"host", b"peyvand.test")] + ([(b"cookie", cookie.encode())] if cookie else [])
    return Request(
        {
            "type": "http",
            "method": "GET",
            "path": path,
            "query_string": query,
            "headers": headers,
            "server": ("peyvand.test", 80),
            "scheme": "http",
        }
    )


def test_numbers_are_written_as_the_reader_writes_them() -> None:
    assert pages.n(1300, "fa") == "۱٬۳۰۰" and pages.n(1300, "en") == "1,300"
    assert pages.n(52.216, "fa", 2) == "۵۲٫۲۲" and pages.n(None, "fa") == "–"
    assert pages.pct(0.185, "fa") == "\u061c۱۸٫۵٪" and pages.pct(0.185, "en") == "18.5%"
    assert pages.signed(-2.875, "en") == '<bdi dir="ltr">\u22122.88</bdi>'


def test_an_instant_is_shown_in_tehran_with_its_machine_readable_twin() -> None:
    shown = pages.jtime(datetime(2025, 10, 27, 7, 12, 7, tzinfo=UTC), "fa")
    assert 'datetime="2025-10-27T10:42:07+03:30"' in shown and "۵ آبان ۱۴۰۴" in shown


@pytest.mark.parametrize("most", [0, 1, 216, 217, 9_000, 106_048, 1_000_000])
def test_knots_always_fit_and_none_is_lost(most: int) -> None:
    scale = pages.knots_scale(most)
    assert most <= scale * pages.KNOTS_A_ROW * pages.KNOTS_A_COLUMN
    drawn = pages.knots(most, scale).count("h8v8h-8z")
    assert drawn == (max(1, round(most / scale)) if most else 0)


def test_marks_carry_no_inline_style() -> None:
    marks = [
        pages.bar(52.2),
        pages.bar(130, mark=50),
        pages.share_bar(0.35, 0.2, 0.5),
        pages.spark([3, 2, 1], 31),
        pages.strip([10, 20], 15),
        pages.knots(1_000, 10, 500),
    ]
    for mark in marks:
        assert "style=" not in mark and 'aria-hidden="true"' in mark
    assert 'width="100.0"' in pages.bar(130), "a bar is never longer than its scale"


@pytest.mark.parametrize("status", [404, 429, 500, 503, 403, 418])
def test_an_error_page_says_what_next_in_both_languages(status: int) -> None:
    problem = {"status": status, "title": "Teapot", "detail": "Short and stout", "instance": "r-17"}
    for lang, direction in ((b"", "rtl"), (b"lang=en", "ltr")):
        answer = pages.error_page(request_for("/nowhere", lang), problem)
        body = bytes(answer.body).decode()
        assert answer.status_code == status and f'dir="{direction}"' in body and "r-17" in body
        assert not re.search(r"<style|style=|<script(?! src)", body)


def test_the_language_is_remembered() -> None:
    asked = pages.error_page(request_for("/x", b"lang=en"), {"status": 404, "title": "", "detail": ""})
    assert "peyvand_lang=en" in asked.headers["set-cookie"]
    assert pages.lang_of(request_for("/x", cookie="peyvand_lang=en")) == "en"
    assert pages.lang_of(request_for("/x", b"lang=de")) == "fa"


def test_a_page_cannot_forget_a_value() -> None:
    template = pages.pages("web").environment.from_string("{{ nothing }}")
    with pytest.raises(Exception, match="nothing"):
        template.render()
