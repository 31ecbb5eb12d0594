"""`peyvand reconcile`: what it makes of the comparisons that services report."""

from typing import Any

from contracts.subjects import PARTITIONS
from peyvand.reconciliation.command import summaries, tables

DISAGREEMENT = {"subject": "p", "kind": "owner_behind", "handled": 3, "held": 2}


def comparison(partition: int, **changed: Any) -> dict[str, Any]:
    """Return a comparison of market with registration as the API reports it."""
    return {
        "source": "registration",
        "partition": partition,
        "at": f"2026-01-01T12:00:{partition:02}Z",
        "subjects": 10,
        "repaired": 0,
        "repaired_at": None,
        "disagreement_count": 0,
        "disagreements": [],
        "failed_at": None,
        "failure": "",
    } | changed


def every(**changed: Any) -> list[dict[str, Any]]:
    return [comparison(n, **(changed if n == 7 else {})) for n in range(PARTITIONS)]


def test_a_consumer_agrees_when_every_partition_was_compared_and_nothing_is_left() -> None:
    registration, screening = summaries("market", every(repaired=2, repaired_at="2026-01-01T11:00:00Z"))
    assert registration.agrees and (registration.subjects, registration.repaired) == (320, 2)
    assert registration.since == "2026-01-01T12:00:00Z"
    assert not screening.agrees and screening.partitions == 0, "it was never compared"
    for changed in (
        {"at": None},
        {"failure": "HTTP 403"},
        {"disagreement_count": 1, "disagreements": [DISAGREEMENT]},
    ):
        assert not summaries("market", every(**changed))[0].agrees


def test_what_an_operator_must_decide_on_is_a_sentence() -> None:
    found = summaries("market", every(failure="HTTP 403", disagreement_count=1, disagreements=[DISAGREEMENT]))
    _, *lines = tables(found)
    assert lines == [
        "market cannot be compared with registration: HTTP 403",
        "p: market has handled 3 events of registration, the owner holds 2",
    ]
