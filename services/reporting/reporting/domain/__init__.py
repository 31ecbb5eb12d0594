"""Reporting decides nothing: it remembers facts, and ranks."""

from reporting.domain import applicant, ledger, round

RULES = {"applicant": applicant, "ledger": ledger, "round": round}
