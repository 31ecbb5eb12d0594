"""English text and names use standard terms; a newcomer meets no private word."""

import pytest

from tests.house.language import ALLOWED, BANNED, Banned, banned_words, findings
from tests.house.sources import assert_none, committed, read


def test_no_banned_word_is_used() -> None:
    assert_none(
        [
            f"{path}:{each.line} {each.word}: write instead {each.instead}"
            for path, words in findings().items()
            for each in words
        ],
        "use the standard term; tests/house/language.py has the list, and ALLOWED for where the word is a term",
    )


@pytest.mark.parametrize(
    ("path", "text", "word"),
    [
        ("new.py", "told = 1", "told"),
        ("new.py", "turn = 1", "turn"),
        ("new.py", "class Office: ...", "Office"),
        ("new.py", "# The healing of a topic.", "healing"),
        ("new.py", "def heard_by(): ...", "heard"),
        ("new.py", "class StrandedSubjects: ...", "stranded"),
        ("new.py", "# The relay tells Kafka.", "tells"),
        ("new.py", '"""Whoever asks."""', "whoever"),
        ("new.py", 'log.info("nobody_consumes")', "nobody"),
        ("new.py", 'f"{told}"', "told"),
        ("new.py", "# one function of the house", "the house"),
        ("new.md", "The country comes to rest.", "country"),
        ("new.json", '{"told": 1}', "told"),
        ("new.css", ".doors { margin: 0 }", "doors"),
        ("new.yaml", "summary: Nobody consumes", "nobody"),
        ("new.html", "<p>x</p><!-- whoever is told -->", "whoever"),
        ("new.html", "{# the front door #}", "door"),
    ],
)
def test_a_banned_word_is_found(path: str, text: str, word: str) -> None:
    assert word in [each.word for each in banned_words(path, text)]


@pytest.mark.parametrize(
    ("path", "text", "line"),
    [
        ("new.py", 'a = 1\ntext = """one\ntwo tells\n"""', 3),
        ("new.html", "<p>x</p>\n<!-- a\nb tells -->", 3),
        ("new.md", "one\n\ntells", 3),
    ],
)
def test_a_banned_word_is_found_in_its_line_with_the_word_to_write(path: str, text: str, line: int) -> None:
    found = banned_words(path, text)
    assert found == [Banned(line, "tells")]
    assert found[0].instead == BANNED["tells"]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("new.py", 'text = "سهمیهٔ استان پر شده است"'),
        ("new.py", "unreadable_record = roommate = storming = 1"),
        ("new.py", "# a figure of the whole country"),
        ("new.py", "in_turn = OFFICE_HOURS  # each in turn"),
        ("new.html", "<p>Tell us.</p>"),
        ("new.md", "The relay publishes pending events."),
    ],
)
def test_other_text_is_not_found(path: str, text: str) -> None:
    assert banned_words(path, text) == []


def test_every_exception_names_a_file_and_is_needed() -> None:
    for pattern, word in ALLOWED:
        assert pattern in committed(), pattern
        assert word == "*" or (word in BANNED and word in read(pattern).lower()), (pattern, word)
