"""The rules of reporting. It decides nothing: it records facts and ranks the provinces."""

from reporting.domain import applicant, ledger, round

RULES = {"applicant": applicant, "ledger": ledger, "round": round}
