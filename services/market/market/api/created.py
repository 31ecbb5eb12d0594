"""The offer or connection that a request created."""

from contracts.envelope import Envelope, decode, type_of
from contracts.events import OfferMade, ProducerConnected
from kernel.commands import CommandMetadata, Result
from kernel.store import Store


async def created_name(store: Store, result: Result, metadata: CommandMetadata) -> str:
    """Return the id of the offer or connection, also if the request is repeated: `o1`, `c1`."""
    envelope = result.events[-1] if result.events else await _envelope_of(store, result, metadata)
    match envelope.event:
        case OfferMade(offer=name) | ProducerConnected(connection=name):
            return name
    raise TypeError(f"{type_of(envelope.event)} creates neither an offer nor a connection")


async def _envelope_of(store: Store, result: Result, metadata: CommandMetadata) -> Envelope:
    """Return the last event of the stored response."""
    key = metadata.idempotency_key
    sequence = next(each.sequence for each in result.record.stored_responses if each.key == key)
    return decode((await store.history(result.record.subject))[sequence - 1])
