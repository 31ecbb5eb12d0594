"""Metrics of screening."""

from prometheus_client import Counter

CLAIMS = Counter(
    "peyvand_screening_claims_total",
    "Requests for the next case, by result: claimed, none or limit. Many none while cases are open: colleagues have "
    "claimed the remaining cases, or the officer registered these applicants; a claim ends after two hours. limit: "
    "an officer asks for more than 20 undecided cases, by mistake or to keep them from others.",
    ["result"],
)
