"""An estimate of the entropy of a secret, to distinguish what a generator drew from what a person made up."""

import math
import re
from collections import Counter

MIN_LENGTH = 32  # characters
MIN_BITS = 80
WORD_BITS = 1.0  # per small letter after a letter, about as in written text
ROWS = "abcdefghijklmnopqrstuvwxyz 01234567890 qwertyuiop asdfghjkl zxcvbnm 1qaz2wsx3edc4rfv5tgb6yhn7ujm"
SEQUENCES = f"{ROWS} {ROWS[::-1]}"
WORD = re.compile(r"(?<=[A-Za-z])[a-z]|(?<=[A-Z]{3})[A-Z]")


PLACEHOLDER = re.compile(r"[<>{}]|replace|change.?me|example|placeholder|your.?(secret|key|password)", re.IGNORECASE)


def estimated_bits(secret: str) -> float:
    """Return an estimate: the Shannon entropy of its characters, without those that follow from the ones before.

    A character that repeats what was there, or goes on with a row of letters, digits or keys, adds nothing.
    """
    counts = Counter(secret)
    each = -sum(n / len(secret) * math.log2(n / len(secret)) for n in counts.values())
    bits = [each] * len(secret)
    for letter in WORD.finditer(secret):
        bits[letter.start()] = min(each, WORD_BITS)
    for n in range(1, len(secret)):
        three = secret[max(0, n - 2) : n + 1]
        if secret[n] == secret[n - 1] or three in secret[:n] or (n > 1 and three.lower() in SEQUENCES):
            bits[n] = 0
    return sum(bits)


def weakness(secret: str) -> str:
    """Return what a secret lacks, as the end of a sentence; empty if it is strong."""
    if len(secret) < MIN_LENGTH:
        return f"must have {MIN_LENGTH} characters or more: `openssl rand -base64 32` makes one"
    if PLACEHOLDER.search(secret):
        return "must be random: this one is a placeholder; `openssl rand -base64 32` makes one"
    if estimated_bits(secret) < MIN_BITS:
        return "must be random: this one repeats itself or is made of words; `openssl rand -base64 32` makes another"
    return ""
