"""Secrets: what a generator drew is accepted, what a person made up is refused."""

import base64
from random import Random

import pytest

from base.entropy import MIN_BITS, estimated_bits, weakness

WEAK = (
    "a" * 64,
    "ab" * 32,
    "password" * 5,
    "0123456789abcdef" * 4,
    "1111222233334444555566667777888899990000",
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789",
    "qwertyuiopasdfghjklzxcvbnmqwertyuiop",
    "1qaz2wsx3edc4rfv5tgb6yhn7ujm1qaz2wsx",
    "13991212139912121400010114000202",
    "P@ssw0rd!P@ssw0rd!P@ssw0rd!P@ssw0rd!",
    "peyvand-production-master-key-2024",
    "ChangeMePlease!ThisIsNotASecureKey123",
    "thisismyverysecretpasswordforproduction1234!",
    "correct horse battery staple correct",
    "Tehran1404!Semnan1404!Esfahan1404!Yazd1404",
    "registration-password-of-mongodb-2026!",
    "<REPLACE_ME_WITH_A_GENERATED_SECRET_9x7Kq2>",
    "${PEYVAND_MASTER_KEY_8fQ2zL0xW7bT5nM3}",
    "YourSecretKey7Kq29xLm0Wb5Tn3MzQ8fRvG",
)


@pytest.mark.parametrize("secret", WEAK)
def test_what_a_person_makes_up_is_refused(secret: str) -> None:
    assert len(secret) >= 32 and "must be random" in weakness(secret)


def test_what_is_short_is_refused() -> None:
    assert "32 characters" in weakness("") and "32 characters" in weakness("x7Gq")


def test_10_000_drawn_secrets_of_each_form_are_accepted() -> None:
    """As of `secrets.token_urlsafe(32)`, `openssl rand -base64 32` and `openssl rand -hex 32`."""
    chance = Random(14)
    for _ in range(10_000):
        drawn = chance.randbytes(32)
        for secret in (
            base64.urlsafe_b64encode(drawn).decode().rstrip("="),
            base64.b64encode(drawn).decode(),
            drawn.hex(),
        ):
            assert weakness(secret) == "", secret


def test_random_secrets_have_some_distance_from_the_limit() -> None:
    chance = Random(1404)
    bits = [estimated_bits(base64.b64encode(chance.randbytes(32)).decode()) for _ in range(1_000)]
    mean = sum(bits) / len(bits)
    deviation = (sum((each - mean) ** 2 for each in bits) / len(bits)) ** 0.5
    assert mean - MIN_BITS > 5 * deviation, "one in a million would be refused"
