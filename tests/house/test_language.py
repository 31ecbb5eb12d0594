"""English text and names use standard terms; a newcomer meets no private word."""

from collections import Counter

import pytest

from tests.house.language import ALLOWED, BANNED, banned_words, findings
from tests.house.sources import committed, read


def test_no_banned_word_is_used() -> None:
    found = findings()
    total = sum(len(words) for words in found.values())
    per_file = "\n".join(
        f"{len(words):6} {path}: {', '.join(f'{word} {n}' for word, n in Counter(words).most_common(6))}"
        for path, words in sorted(found.items(), key=lambda each: -len(each[1]))
    )
    assert total == 0, f"{total} banned words in {len(found)} files\n{per_file}"


@pytest.mark.parametrize(
    ("path", "text", "word"),
    [
        ("new.py", "told = 1", "told"),
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
    assert word in banned_words(path, text)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("new.py", 'text = "سهمیهٔ استان پر شده است"'),
        ("new.py", "unreadable_record = roommate = storming = 1"),
        ("new.py", "# a figure of the whole country"),
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
