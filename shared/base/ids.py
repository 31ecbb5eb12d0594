"""Generated identifiers: UUIDv7 for subjects, spellings of tracking codes, which people write down."""

import os
import time

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's: no I, L, O or U
CODE_LENGTH = 10  # characters of a tracking code, 50 bits: short enough to read out

_TYPED = str.maketrans("ILO۰۱۲۳۴۵۶۷۸۹٠١٢٣٤٥٦٧٨٩", "11001234567890123456789")


def uuid7() -> str:
    """Return a UUIDv7 (RFC 9562). It sorts by the millisecond of its creation, and discloses it."""
    milliseconds, random = time.time_ns() // 1_000_000, int.from_bytes(os.urandom(10))
    value = (milliseconds & (1 << 48) - 1) << 80 | random
    value = value & ~(0xF << 76) | 7 << 76
    value = value & ~(3 << 62) | 2 << 62
    digits = f"{value:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def shown_code(code: str) -> str:
    """Return `9H2K4-MZQ7B` for `9H2K4MZQ7B`, as people see it."""
    return f"{code[:5]}-{code[5:]}"


def typed_code(typed: str) -> str:
    """Return the tracking code in what a person typed, or "".

    Accepts any case, Persian and Arabic digits, I, L and O for digits, blanks and dashes.
    """
    code = "".join(typed.upper().translate(_TYPED).replace("-", "").split())
    return code if len(code) == CODE_LENGTH and set(code) <= set(ALPHABET) else ""
