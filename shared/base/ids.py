"""Generated identifiers: UUIDv7 for subjects, spellings of tracking codes, which people write down."""

import os
import time

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's: no I, L, O or U
CODE_LENGTH = 10  # characters of a tracking code, 50 bits: short enough to read out

_MAX_SERIES = 4_096
_TYPED = str.maketrans("ILO۰۱۲۳۴۵۶۷۸۹٠١٢٣٤٥٦٧٨٩", "11001234567890123456789")


def uuid7() -> str:
    """Return a UUIDv7 (RFC 9562). It sorts by the millisecond of its creation, and discloses it."""
    return uuid7s(1)[0]


def uuid7s(count: int) -> list[str]:
    """Return UUIDv7 of one millisecond that grow, at most 4,096: each is larger than the one before by a random number.

    That is method 2 of RFC 9562, 6.2, so that neither an id nor the distance to the next can be guessed.
    """
    if count > _MAX_SERIES:
        raise ValueError(f"at most {_MAX_SERIES} ids")
    milliseconds = time.time_ns() // 1_000_000 & (1 << 48) - 1
    random, made = int.from_bytes(os.urandom(10)) >> 7, []  # 73 bits of 74: the series fits above
    for _ in range(count):
        high, low = random >> 62, random & (1 << 62) - 1
        digits = f"{milliseconds << 80 | 7 << 76 | high << 64 | 2 << 62 | low:032x}"
        made.append(f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}")
        random += 1 + int.from_bytes(os.urandom(7))
    return made


def shown_code(code: str) -> str:
    """Return `9H2K4-MZQ7B` for `9H2K4MZQ7B`, as people see it."""
    return f"{code[:5]}-{code[5:]}"


def typed_code(typed: str) -> str:
    """Return the tracking code in what a person typed, or "".

    Accepts any case, Persian and Arabic digits, I, L and O for digits, blanks and dashes.
    """
    code = "".join(typed.upper().translate(_TYPED).replace("-", "").split())
    return code if len(code) == CODE_LENGTH and set(code) <= set(ALPHABET) else ""
