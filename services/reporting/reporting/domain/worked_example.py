"""The worked example of the methodology: the figures of four provinces, and of one that only registers."""

from reporting.domain.indicators import Counts

ONLY_REGISTERS = "IR-23"  # stands for a province that registers many people and connects almost none


def worked_example() -> dict[str, Counts]:
    """Return by province the counts that give the shares of the table in `docs/methodology.md`."""
    return {
        "IR-08": _counts(2500, 2400, 2000, 1500, 1100, 500, in_time=(75, 70), sustained=65, confirmed=90),
        "IR-20": _counts(1300, 3000, 2400, 1250, 900, 240, in_time=(80, 70), sustained=60, confirmed=80),
        "IR-27": _counts(2000, 2580, 1500, 1100, 700, 260, in_time=(60, 60), sustained=60, confirmed=80),
        "IR-22": _counts(2500, 5000, 5000, 2300, 1200, 300, in_time=(70, 60), sustained=55, confirmed=70),
        ONLY_REGISTERS: _counts(1300, 6000, 5900, 1300, 100, 5, in_time=(95, 30), sustained=0, confirmed=80),
    }


def _counts(
    quota: int,
    registered: int,
    screened: int,
    admitted: int,
    identified: int,
    connected: int,
    *,
    in_time: tuple[int, int],  # percent
    sustained: int,  # of 100; 0: no connection is old enough
    confirmed: int,  # percent of the claims; all identities are verified
) -> Counts:
    return Counts(
        quota=quota,
        registered=registered,
        verified=registered,
        screened=screened,
        screened_in_time=screened * in_time[0] // 100,
        screening_due=screened,
        admitted=admitted,
        identified=identified,
        identified_in_time=identified * in_time[1] // 100,
        capacity_due=identified,
        connected=connected,
        sustained=sustained,
        sustainable=100 if sustained else 0,
        claims=100,
        claims_confirmed=confirmed,
    )
