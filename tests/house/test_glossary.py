"""Pages, messages and labels use one word for one thing: that of docs/glossary.md."""

import ast
import re
from collections.abc import Iterator, Mapping
from functools import cache

import pytest
from jinja2 import Environment

from tests.house.sources import Source, assert_none, committed, read

PAGE = "docs/glossary.md"
NOT_READ = (PAGE, "shared/programme/text.py")  # the list itself, and the module of the letters
PERSIAN, ENGLISH = 3, 4  # columns of the words that are not used
LETTER = "\u0621-\u065f\u066e-\u06d3\u06fa-\u06ff\u200c"  # of Persian words; the half-space belongs to a word
# What is written wrongly, and how to write it.
SPELLING = {
    rf"(?<![{LETTER}])ن?می [{LETTER}]": "«می» and its verb are joined by a half-space",
    rf"[{LETTER}] ها(?:ی|یی|یم|یت|یش|یتان|یشان)?(?![{LETTER}])": "«ها» is joined by a half-space",
    r"[يك]": "write the Persian letters «ی» and «ک»",
    "ه\u200cی(?![ا-ی])": "the ezafe after «ه» is written «هٔ»",
    "\u200c(?:[ .،؛:»]|$)": "a half-space stands between two parts of a word",
}


@cache
def rows() -> list[list[str]]:
    """Return the rows of the glossary, without its head."""
    lines = [line for line in read(PAGE).splitlines() if line.startswith("| ")]
    return [re.split(r" *\| *", line)[1:-1] for line in lines][1:]


@cache
def not_used(column: int) -> Mapping[str, str]:
    """Return the words that a column of the glossary refuses, and the word of the row."""
    separator = "،" if column == PERSIAN else ","
    return {
        word.strip(): row[column - PERSIAN] for row in rows() for word in row[column].split(separator) if word.strip()
    }


@cache
def pattern(column: int) -> re.Pattern[str]:
    """Return the pattern of the words that a column of the glossary refuses."""
    start = rf"(?<![{LETTER}])" if column == PERSIAN else r"\b"
    return re.compile(f"{start}(?:{'|'.join(map(re.escape, not_used(column)))})", re.IGNORECASE)


def words(text: str, column: int) -> Iterator[tuple[int, str, str]]:
    """Yield place, word and what to write for each word of a text that the glossary refuses."""
    for found in pattern(column).finditer(text):
        yield found.start(), found[0], not_used(column)[found[0].lower()]
    if column == PERSIAN:
        for wrong, reason in SPELLING.items():
            yield from ((found.start(), found[0], reason) for found in re.finditer(wrong, text, re.MULTILINE))


def found_in(path: str, text: str) -> list[str]:
    """Return what the glossary refuses in a file: Persian anywhere, English in what people read."""
    shown = [
        f"{path}:{line} {wrong}: write instead {right}"
        for line, sentence in sentences(path, text)
        for _, wrong, right in words(sentence, ENGLISH)
    ]
    return shown + [
        f"{path}:{text.count(chr(10), 0, place) + 1} {wrong}: write instead {right}"
        for place, wrong, right in words(text, PERSIAN)
    ]


def sentences(path: str, text: str) -> Iterator[tuple[int, str]]:
    """Yield line and text of the English that people read: strings of templates and of modules with Persian texts."""
    if path.endswith(".html"):
        for line, kind, value in Environment(autoescape=True).lex(text):
            if kind == "string":
                yield line, value
    elif path.endswith(".py"):
        for node in Source(path, text).nodes:
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield from ((node.lineno + at, line) for at, line in enumerate(node.value.splitlines()))


def _read_by_people() -> Iterator[tuple[str, str]]:
    """Yield path and text of the files with Persian texts, which have the English ones beside."""
    for path in committed():
        if path.endswith((".py", ".html", ".js", ".md")) and not path.startswith("tests/") and path not in NOT_READ:
            text = read(path)
            if re.search(f"[{LETTER}]", text):
                yield path, text


def test_pages_messages_and_labels_use_the_words_of_the_glossary() -> None:
    read_by_people = list(_read_by_people())
    assert len(read_by_people) > 30
    assert_none([found for path, text in read_by_people for found in found_in(path, text)], f"use the word of {PAGE}")


@pytest.mark.parametrize(
    ("path", "text", "found"),
    [
        ("a.html", "<p>\nصف غربالگری</p>", "a.html:2 غربال: write instead پایش"),
        ("a.html", "کانال‌های فروش", "a.html:1 کانال: write instead راه فروش"),
        ("a.html", '{{ t("شناسهٔ خطا", "Reference: ") }}', "a.html:1 Reference:: write instead error id"),
        ("services/new/new/pages/texts.py", 'A = Label("x", "a candidate")', "applicant"),
        ("shared/programme/messages.py", '"""\nx y\nThe candidate.\n"""', "messages.py:3"),
        ("a.html", "این صفحه تازه نمی شود", "half-space"),
        ("a.html", "همهٔ استان ها", "half-space"),
        ("a.html", "شناسه‌ی خطا", "«هٔ»"),
        ("a.html", "كد ملی", "Persian letters"),
    ],
)
def test_another_word_is_found(path: str, text: str, found: str) -> None:
    assert [each for each in found_in(path, text) if found in each]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("a.html", "صف پایش، بزرگان و پروندهٔ ۲۰-۴۸۱۲۷؛ نمی‌شود، استان‌ها، خانه‌ای"),
        ("a.html", '<p class="candidate">x</p>'),
    ],
)
def test_other_text_is_not_found(path: str, text: str) -> None:
    assert found_in(path, text) == []


def test_no_word_is_right_in_one_row_and_wrong_in_another() -> None:
    assert len(rows()) > 30 and {len(row) for row in rows()} == {5}
    right = [word for row in rows() for word in row[0].split("، ")]
    assert len(right) == len(set(right))
    assert_none([f"{word}: {found}" for word in right for _, found, _ in words(word, PERSIAN)], "which row is right?")
