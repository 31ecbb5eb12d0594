"""Names that are made here: UUIDv7 for what is stored, tracking codes for what people keep on paper."""

import os
import time

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's: no I, L, O or U
CODE_LENGTH = 10  # 50 bits: not to be guessed, short enough to be read out

_READ = str.maketrans("ILO۰۱۲۳۴۵۶۷۸۹٠١٢٣٤٥٦٧٨٩", "11001234567890123456789")


def uuid7() -> str:
    """A UUIDv7 (RFC 9562): sorted by the millisecond in which it was made, which it tells everybody who sees it."""
    milliseconds, chance = time.time_ns() // 1_000_000, int.from_bytes(os.urandom(10))
    value = (milliseconds & (1 << 48) - 1) << 80 | chance
    value = value & ~(0xF << 76) | 7 << 76
    value = value & ~(3 << 62) | 2 << 62
    digits = f"{value:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def tracking_code() -> str:
    """A new tracking code, as it is stored: ten random characters."""
    return "".join(ALPHABET[byte % 32] for byte in os.urandom(CODE_LENGTH))  # 32 divides 256: all as likely


def shown_code(code: str) -> str:
    """`9H2K4MZQ7B` -> `9H2K4-MZQ7B`, as people see it."""
    return f"{code[:5]}-{code[5:]}"


def typed_code(typed: str) -> str:
    """The tracking code that somebody meant: any case, Persian digits, blanks and dashes; "" where it can be none."""
    code = "".join(typed.upper().translate(_READ).replace("-", "").split())
    return code if len(code) == CODE_LENGTH and set(code) <= set(ALPHABET) else ""
