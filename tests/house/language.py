"""Words that English text and names in this repository do not use, because a standard term exists.

Persian texts are not concerned: only ASCII words are looked at.
"""

import io
import re
import tokenize
from collections.abc import Iterator, Mapping
from fnmatch import fnmatch
from functools import cache
from typing import NamedTuple

from tests.house.sources import committed, read

# The word, and what to write instead.
BANNED: Mapping[str, str] = {
    **dict.fromkeys(("says", "said", "saying"), "emit, publish, return, show"),
    **dict.fromkeys(("tell", "tells", "told", "telling"), "emit, publish, return, show, ask"),
    **dict.fromkeys(("hear", "hears", "heard", "hearing"), "consume"),
    **dict.fromkeys(("speak", "speaks", "speaker", "spoken"), "produce, producer"),
    **dict.fromkeys(("mend", "mends", "mended", "mending"), "repair, dead letters"),
    **dict.fromkeys(("stride", "strides"), "chunk, batch"),
    **dict.fromkeys(("nobody", "somebody", "whoever"), "no one, someone, who"),
    **dict.fromkeys(("unsent", "unrelayed"), "pending"),
    **dict.fromkeys(("quarantine", "quarantined"), "parked, dead letters"),
    **dict.fromkeys(("room", "rooms"), "layer, folder, capacity"),
    **dict.fromkeys(("door", "doors"), "gateway, middleware, endpoint"),
    "anew": "again",
    "rings": "raises an alert",
    "storm": "chaos",
    "plumbing": "the package that is meant",
    "nursing": "process monitor",
    "keeper": "process monitor",
    "claimant": "claim, lease",
    "stranded": "parked",
    "unread": "undecodable",
    "befall": "inject",
    "lives": "stories, is stored",
    "country": "system, platform, cluster, nationwide",
    "trouble": "error",
    "troubles": "errors",
    "patience": "timeout",
    "forgets": "deletes, loses",
    **dict.fromkeys(("heal", "heals", "healed", "healing", "reread"), "replay, reset cursors, republish"),
    **dict.fromkeys(("duty", "duties"), "periodic job"),
    **dict.fromkeys(("recalling", "completing"), "restore, completion"),
    **dict.fromkeys(("sight", "sights"), "scope"),
    "asking": "command metadata, idempotency",
    "gathering": "group commit, linger",
    "probes": "enumeration guard",
    "signin": "sign-in, oidc_login",
    "taker": "claim, lease",
    "mortal": "crash point",
}
# Whole names of Python, ordinary words elsewhere.
NAMES: Mapping[str, str] = {
    **dict.fromkeys(("turn", "turns"), "chunk, batch, partitions"),
    **dict.fromkeys(("Place", "Places"), "LogPosition"),
    **dict.fromkeys(("Ask", "Said"), "CommandMetadata, EventWithContext"),
    **dict.fromkeys(("Taken", "TooManyFaults", "Unread"), "UniqueViolation, CircuitOpen, Undecodable"),
    **dict.fromkeys(("Office", "Desk", "Questions", "Cases"), "application service, round snapshot, queries"),
    **dict.fromkeys(("Board", "instants"), "RankingCache, time encoding"),
    **dict.fromkeys(("Intake", "clocks_apart", "found_by"), "admission control, clock_skew, indexed"),
}
PHRASES = {"the house": "the repository, the layout"}

# (file, word) -> why the word is a term there.
ALLOWED: Mapping[tuple[str, str], str] = {
    ("tests/house/language.py", "*"): "the list itself",
    ("tests/house/test_language.py", "*"): "its canaries",
    (
        "shared/programme/data/policies/1404-1.json",
        "lives",
    ): "where an applicant lives; published policies are not edited",
}
WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
PHRASE = re.compile("|".join(rf"\b{each}\b" for each in PHRASES), re.IGNORECASE)
HTML_COMMENT = re.compile(r"<!--.*?-->|\{#.*?#\}", re.DOTALL)
# Iran itself may be meant by these.
IRAN = re.compile(r"\bwhole country\b|\bcountry-wide\b|\bcountry code\b", re.IGNORECASE)
TEXTS: tuple[str, ...] = (".py", ".html", ".md", ".yaml", ".yml", ".json", ".toml", ".js", ".css", ".sh", ".xml")
TEXTS += ("Makefile", "Dockerfile")
NOT_OURS = ("*/package-lock.json", ".peyvand/*")


class Banned(NamedTuple):
    """A banned word where it occurs."""

    line: int
    word: str

    @property
    def instead(self) -> str:
        """Return what to write instead."""
        return {**BANNED, **PHRASES, **NAMES}[self.word]


def english(path: str, text: str) -> Iterator[tuple[int, str]]:
    """Yield the parts of a file that hold English: names, comments and strings of Python, comments of HTML.

    Each comes with the number of its first line.
    """
    if path.endswith(".py"):
        for token in _tokens(text):
            if token.type not in (tokenize.OP, tokenize.NUMBER, tokenize.NEWLINE, tokenize.NL):
                yield token.start[0], token.string
    elif path.endswith(".html"):
        yield from ((text.count("\n", 0, found.start()) + 1, found[0]) for found in HTML_COMMENT.finditer(text))
    else:
        yield 1, text


def banned_words(path: str, text: str) -> list[Banned]:
    """Return every banned word of a file, as often as it occurs."""
    found = []
    for line, part in english(path, text):
        part = IRAN.sub("", part)
        for each in (*WORD.finditer(part), *PHRASE.finditer(part)):
            word = each[0].lower()
            if word in BANNED or word in PHRASES:
                found.append(Banned(line + part.count("\n", 0, each.start()), word))
    if path.endswith(".py"):
        found += [Banned(token.start[0], token.string) for token in _tokens(text) if token.string in NAMES]
    return sorted(each for each in found if not _allowed(path, each.word))


@cache
def findings() -> Mapping[str, list[Banned]]:
    """Return the banned words of every file that has some."""
    found = {path: banned_words(path, read(path)) for path in committed() if _is_text(path)}
    return {path: words for path, words in found.items() if words}


def _tokens(text: str) -> Iterator[tokenize.TokenInfo]:
    return tokenize.generate_tokens(io.StringIO(text).readline)


def _is_text(path: str) -> bool:
    return path.endswith(TEXTS) and not any(fnmatch(path, each) for each in NOT_OURS)


def _allowed(path: str, word: str) -> bool:
    return any(fnmatch(path, pattern) and each in (word, "*") for pattern, each in ALLOWED)
