"""Every refusal has a sentence in both languages that says what to do, in the voice of the programme."""

import string
from datetime import date

import pytest

from programme.http_messages import HTTP_MESSAGES
from programme.messages import _TABLE, MESSAGES, STATUSES, _parse, message_text


def names(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


@pytest.mark.parametrize("code", MESSAGES)
def test_both_sentences_are_whole(code: str) -> None:
    refusal = MESSAGES[code]
    assert refusal.kind in STATUSES
    assert refusal.fa.endswith(".") and refusal.en.endswith(".")
    assert names(refusal.fa) == names(refusal.en)
    assert not set("يىك!") & set(refusal.fa) and "!" not in refusal.en
    assert any("\u0600" <= letter <= "\u06ff" for letter in refusal.fa) and refusal.en.isascii()


def test_the_tables_are_in_alphabetical_order() -> None:
    for table in (_TABLE, HTTP_MESSAGES):
        assert list(_parse(table)) == sorted(_parse(table))


def test_details_are_told_in_the_reader_s_language() -> None:
    assert "۱۸ سال" in message_text("underage", "fa", minimum=18)
    assert "at least 18 years" in message_text("underage", "en", minimum=18)
    assert "{" not in message_text("underage", "fa")  # what the details lack
    assert "۱٬۳۰۰" in message_text("quota_below_admitted", "fa", admitted=1300)
    assert "۵ آبان" in message_text("row_invalid", "fa", row=date(2025, 10, 27))
    assert "province، name_fa" in message_text("columns_unknown", "fa", columns=["province", "name_fa"])


def test_a_code_that_the_table_lacks_is_still_answered() -> None:
    assert message_text("no_such_code", "en") == message_text("malformed", "en")


@pytest.mark.parametrize("table", ["a teapot\nfa\nen", "a invalid\nfa\nen\n\na invalid\nfa\nen", "a invalid\nfa"])
def test_the_table_refuses_what_is_no_entry(table: str) -> None:
    with pytest.raises(ValueError):
        _parse(table)
