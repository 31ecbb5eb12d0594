"""Every message has a complete sentence in both languages, and is filled in the language of the reader."""

import string
from datetime import date

import pytest

from contracts.codes import SEXES
from programme.answer_messages import ANSWER_MESSAGES
from programme.case_messages import CASE_MESSAGES
from programme.http_messages import HTTP_MESSAGES
from programme.messages import _TABLE, MESSAGES, STATUSES, _parse, localized, message_text
from programme.seat_messages import SEAT_MESSAGES


def placeholders(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


@pytest.mark.parametrize("code", MESSAGES)
def test_both_sentences_are_complete(code: str) -> None:
    message = MESSAGES[code]
    assert message.kind in STATUSES
    assert message.fa.endswith(".") and message.en.endswith(".")
    assert placeholders(message.fa) == placeholders(message.en)
    assert not set("يىك!") & set(message.fa) and "!" not in message.en
    assert any("\u0600" <= letter <= "\u06ff" for letter in message.fa) and message.en.isascii()


def test_the_tables_are_sorted_by_code() -> None:
    for table in (_TABLE, ANSWER_MESSAGES, CASE_MESSAGES, HTTP_MESSAGES, SEAT_MESSAGES):
        assert list(_parse(table)) == sorted(_parse(table))


def test_details_are_formatted_in_the_language_of_the_reader() -> None:
    assert "۱۸ سال" in message_text("underage", "fa", minimum=18)
    assert "at least 18 years" in message_text("underage", "en", minimum=18)
    assert "{" not in message_text("underage", "fa")  # missing details
    assert "۱٬۳۰۰" in message_text("quota_below_admitted", "fa", admitted=1300)
    assert "۵ آبان" in message_text("row_invalid", "fa", row=date(2025, 10, 27))
    assert "province، name_fa" in message_text("columns_unknown", "fa", columns=["province", "name_fa"])


def test_localized_and_labels() -> None:
    assert (localized("بله", "Yes", "fa"), localized("بله", "Yes", "en")) == ("بله", "Yes")
    assert (SEXES["female"].text("fa"), SEXES["female"].text("en")) == ("زن", "Female")


def test_an_unknown_code_has_the_text_of_malformed() -> None:
    assert message_text("no_such_code", "en") == message_text("malformed", "en")


@pytest.mark.parametrize("table", ["a teapot\nfa\nen", "a invalid\nfa\nen\n\na invalid\nfa\nen", "a invalid\nfa"])
def test_an_invalid_table_is_refused(table: str) -> None:
    with pytest.raises(ValueError):
        _parse(table)
