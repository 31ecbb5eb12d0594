"""Policies are exact, complete, and never edited once published."""

from fractions import Fraction
from hashlib import sha256

import pytest

from contracts import codes
from contracts.commands import UnknownVersion
from programme import policies

PUBLISHED = {
    "1404-1": "bc6e8086f2fa921ab3e10c359000e7b89a7fe5a37e4abec06d2705f11e393b04",
    "1404-3": "fa16c18de2e299a11d628418ceaba83f9a13df847132faf95b3bb90d69ff0ddb",
}  # add each version with its digest; never change one


def digest(version: str) -> str:
    return sha256((policies._FOLDER / f"{version}.json").read_bytes()).hexdigest()


def test_published_policies_are_not_edited() -> None:
    assert {version: digest(version) for version in policies.versions()} == PUBLISHED


@pytest.mark.parametrize("version", policies.versions())
def test_every_version_is_complete(version: str) -> None:
    policy = policies.policy(version)
    assert policy.version == version
    formula = policy.formula
    for stage in (formula.stage_1, formula.stage_2, formula.stage_3):
        assert sum(stage.values()) == 1
    assert sum(formula.exponents) == 1
    assert set(formula.capped) <= {*formula.stage_1, *formula.stage_2, *formula.stage_3}
    assert {rule.reason for rule in policy.eligibility} <= set(codes.REJECTION_REASONS)
    assert policy.evidence_counted in codes.EVIDENCE


def test_values_of_the_current_version() -> None:
    policy = policies.policy(policies.CURRENT)
    assert (policy.screening_days, policy.capacity_days, policy.sustained_days, policy.minimum_age) == (10, 20, 90, 18)
    assert policy.formula.stage_1 == {"R1": Fraction(35, 100), "S1": Fraction(2, 5), "S3": Fraction(1, 4)}
    assert (policy.formula.floor, policy.formula.data_least) == (Fraction(1, 100), Fraction(4, 5))


def test_every_version_has_the_days_of_an_appeal() -> None:
    """1404-1 was published without them and has those of the domain; 1404-3 names them."""
    for version in policies.versions():
        policy = policies.policy(version)
        assert (policy.appeal_window_days, policy.appeal_days) == (10, 10)
    assert b"appeal" not in (policies._FOLDER / "1404-1.json").read_bytes()
    assert b"appeal_window_days" in (policies._FOLDER / "1404-3.json").read_bytes()


def test_an_unknown_version_raises_key_error() -> None:
    for version in ("1300-1", "../policies/1404-1", ""):
        with pytest.raises(UnknownVersion):
            policies.policy(version)
