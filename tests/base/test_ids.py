"""UUIDv7 sort by creation time; tracking codes are recognised however people type them."""

import time
import uuid
from itertools import pairwise

import pytest

from base.ids import shown_code, typed_code, uuid7, uuid7s


def test_uuid7_is_valid_and_has_its_millisecond() -> None:
    before = time.time_ns() // 1_000_000
    created = [uuid.UUID(uuid7()) for _ in range(1_000)]
    after = time.time_ns() // 1_000_000

    assert {each.version for each in created} == {7}
    assert {each.variant for each in created} == {uuid.RFC_4122}
    assert all(before <= each.int >> 80 <= after for each in created)
    assert len(set(created)) == 1_000


def test_ids_of_different_milliseconds_sort_by_time() -> None:
    first = uuid7()
    time.sleep(0.002)

    assert first < uuid7()


def test_ids_of_one_series_grow_by_distances_that_cannot_be_guessed() -> None:
    made = [uuid.UUID(each) for each in uuid7s(4_096)]
    assert made == sorted(set(made)) and {each.version for each in made} == {7}
    assert {each.variant for each in made} == {uuid.RFC_4122}
    assert len({each.int >> 80 for each in made}) == 1
    distances = {later.int - earlier.int for earlier, later in pairwise(made)}
    assert len(distances) == 4_095 and min(distances) > 1 << 16
    with pytest.raises(ValueError, match="4096"):
        uuid7s(4_097)


@pytest.mark.parametrize(
    "typed",
    ["01AB2-CD3EF", "01ab2cd3ef", " oLab2 cd3ef ", "OIAB2CD3EF", "۰۱ab۲-cd۳ef", "٠١ab٢cd٣ef", "01-AB-2C-D3-EF"],
)
def test_typed_code_is_recognised(typed: str) -> None:
    assert typed_code(typed) == "01AB2CD3EF"


@pytest.mark.parametrize("typed", ["", "01AB2CD3E", "01AB2CD3EFG", "01AB2CD3EU", "01AB2/D3EF", "سلام"])
def test_text_that_is_no_code_is_rejected(typed: str) -> None:
    assert typed_code(typed) == ""


def test_code_is_shown_in_two_groups() -> None:
    assert shown_code("9H2K4MZQ7B") == "9H2K4-MZQ7B"
    assert typed_code(shown_code("9H2K4MZQ7B")) == "9H2K4MZQ7B"
