"""A person's data in every form in which it could stand where it must not, and where it is looked for."""

import base64
import hashlib
from collections.abc import Iterable, Mapping
from urllib.parse import quote, quote_plus

SCRIPTS = ("۰۱۲۳۴۵۶۷۸۹", "٠١٢٣٤٥٦٧٨٩")
HASHES = ("md5", "sha1", "sha256", "sha512", "blake2b")


def forms(word: str) -> dict[str, bytes]:
    """Return the word as it is, in other digits, hexadecimal, base64, percent-encoded, escaped, and hashed."""
    found = {"plain": word.encode()}
    if word.isdigit():
        found |= {script[0]: word.translate(str.maketrans("0123456789", script)).encode() for script in SCRIPTS}
    raw = word.encode()
    found["hexadecimal"] = raw.hex().encode()
    for shift in range(3):  # base64 of the word behind 0, 1 or 2 other bytes, without what depends on its neighbours
        coded = base64.b64encode(b"\0" * shift + raw)
        found[f"base64 {shift}"] = coded[(0, 2, 3)[shift] : len(coded) - (4 if (shift + len(raw)) % 3 else 0)]
        found[f"base64url {shift}"] = found[f"base64 {shift}"].replace(b"+", b"-").replace(b"/", b"_")
    found |= {"percent": quote(word, safe="").encode(), "plus": quote_plus(word).encode()}
    found["escaped"] = word.encode("unicode_escape")
    for name in HASHES:
        digest = hashlib.new(name, raw)
        found |= {name: digest.digest(), f"{name} in hexadecimal": digest.hexdigest().encode()}
    return found


def leaks(words: Iterable[str], sinks: Mapping[str, bytes]) -> list[str]:
    """Return which word is found in which sink, and in what form; letters in either case."""
    wanted = {(word, form): text for word in words for form, text in forms(word).items()}
    found = []
    for sink, content in sinks.items():
        lower = content.lower()
        found += [
            f"{word!r} in {sink}, {form}"
            for (word, form), text in wanted.items()
            if text in content or text.lower() in lower
        ]
    return found
