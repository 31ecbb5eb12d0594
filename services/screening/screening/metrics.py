"""Metrics of screening."""

from prometheus_client import Counter

CLAIMS = Counter(
    "peyvand_screening_claims_total",
    "Requests for the next case, by result: claimed or none. Many none while cases are open: colleagues have claimed "
    "the remaining cases, or the officer registered these applicants; a claim ends after 15 minutes.",
    ["result"],
)
