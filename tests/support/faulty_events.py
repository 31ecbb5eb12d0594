"""Events that meet a bug in the rules of reporting, and the rules after its fix."""

from typing import Any

from msgspec.structs import replace

from contracts.envelope import Envelope
from contracts.events import Event
from kernel.batch import process
from kernel.record import Message
from kernel.stores.mongodb import MongoStore
from recovery.dead_letter_store import MemoryDeadLetterStore
from tests.support.messages import WITHDRAWN, message
from tests.support.small_services import POISON, ReportingRules, Tallies, noon


def faulty(subject: str, sequence: int, event: Event | None = None) -> Message:
    """Return an event of registration on which ReportingRules raise, until they are fixed."""
    return message("registration", sequence, event, subject, POISON)


def rules_with_bug(*types: type[Event]) -> Any:
    """Return the rules of reporting after a fix: they still raise on faulty events of these types."""

    class Rules(ReportingRules):
        @staticmethod
        def evolve(state: Any, envelope: Envelope) -> Any:
            if not isinstance(envelope.event, types):
                envelope = replace(envelope, context=replace(envelope.context, field="honey"))
            return ReportingRules.evolve(state, envelope)

    return Rules


async def park_three(store: Any, tallies: Tallies) -> None:
    """Park a faulty event about a, b and c, each with one event behind it; handle one about d."""
    events = [each for s in ("a", "b", "c") for each in (faulty(s, 1), message("registration", 2, WITHDRAWN, s))]
    await process(store, [*events, message("registration", 1, subject="d")], {}, noon, tallies.move)


async def recorded_actions(store: Any) -> list[tuple[str, str, str, list[str]]]:
    """Return who did what, why, and to which letters, in order."""
    if isinstance(store, MongoStore):
        found = await store.database.operator_actions.find({}, sort=[("_id", 1)]).to_list()
        return [(d["who"], d["action"], d["reason"], d["letters"]) for d in found]
    actions = MemoryDeadLetterStore(store).actions
    return [(each.who, each.action, each.reason, list(each.letters)) for each in actions]


async def recount(store: Any, *subjects: str) -> dict[tuple[str, str], int]:
    """Return what the tallies must be, given the records of these subjects."""
    counts: dict[tuple[str, str], int] = {}
    for record in (await store.read(subjects)).values():
        for name, n in record.state.consumed.items():
            counts[record.state.province, name] = counts.get((record.state.province, name), 0) + n
    return counts
