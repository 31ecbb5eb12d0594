"""Ids sort by the moment they were made; tracking codes survive being typed by people."""

import time
import uuid

import pytest

from base.ids import ALPHABET, shown_code, tracking_code, typed_code, uuid7


def test_a_uuid7_is_one_and_tells_its_millisecond() -> None:
    before = time.time_ns() // 1_000_000
    made = [uuid.UUID(uuid7()) for _ in range(1_000)]
    after = time.time_ns() // 1_000_000

    assert {each.version for each in made} == {7}
    assert {each.variant for each in made} == {uuid.RFC_4122}
    assert all(before <= each.int >> 80 <= after for each in made)
    assert len(set(made)) == 1_000


def test_ids_of_different_milliseconds_sort_in_time() -> None:
    first = uuid7()
    time.sleep(0.002)

    assert first < uuid7()


def test_tracking_codes_are_of_the_alphabet_and_differ() -> None:
    codes = {tracking_code() for _ in range(1_000)}

    assert len(codes) == 1_000
    assert all(len(code) == 10 and set(code) <= set(ALPHABET) for code in codes)
    assert not set("ILOU") & set(ALPHABET)


@pytest.mark.parametrize(
    "typed",
    ["01AB2-CD3EF", "01ab2cd3ef", " oLab2 cd3ef ", "OIAB2CD3EF", "۰۱ab۲-cd۳ef", "٠١ab٢cd٣ef", "01-AB-2C-D3-EF"],
)
def test_what_people_type_finds_the_code(typed: str) -> None:
    assert typed_code(typed) == "01AB2CD3EF"


@pytest.mark.parametrize("typed", ["", "01AB2CD3E", "01AB2CD3EFG", "01AB2CD3EU", "01AB2/D3EF", "سلام"])
def test_what_can_be_no_code_is_none(typed: str) -> None:
    assert typed_code(typed) == ""


def test_a_code_is_shown_in_two_groups() -> None:
    code = tracking_code()

    assert shown_code("9H2K4MZQ7B") == "9H2K4-MZQ7B"
    assert typed_code(shown_code(code)) == code
