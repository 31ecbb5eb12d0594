"""Connections: declare them, one by one or as a list, show better evidence, end them."""

from typing import Annotated

from fastapi import APIRouter

from kernel.commands import CommandMetadata, Result, execute
from market import queries, schemas
from market.api.access import access_scope_of, find_producer, split_id
from market.api.created import created_name
from market.domain.connection import HIGHEST, Connect, End, RaiseEvidence
from security.auth import Principal
from web.authorization import allow
from web.dependencies import Clock, Store
from web.idempotency import Outcomes, execute_each, idempotent, metadata_for

LIST_BODY = 512 << 10  # bytes

Metadata = Annotated[CommandMetadata, idempotent()]

router = APIRouter(prefix="/v1", tags=["producers"])


@router.post("/connections/batch", response_model_exclude_none=True, max_body_size=LIST_BODY)
async def declare_connections(
    body: schemas.Connections,
    principal: Annotated[Principal, allow("import_connections")],
    store: Store,
    clock: Clock,
    metadata: Metadata,
) -> Outcomes[schemas.Outcome]:
    """Declare connections of up to 500 producers, each independent of the others."""
    items = [(each.producer, _command(each.producer, each, principal, "")) for each in body.connections]
    permitted = set(await store.find_subjects(queries.selected(principal.scope, [subject for subject, _ in items])))
    outcomes = []
    for subject, outcome in await execute_each(store, items, permitted, clock, metadata):
        name = ""
        if isinstance(outcome, Result):
            name = await created_name(store, outcome, metadata_for(subject, metadata))
        outcomes.append(schemas.outcome(subject, outcome, name))
    return Outcomes.of(outcomes)


@router.post("/producers/{id}/connections", status_code=201)
async def declare_connection(
    id: str,
    body: schemas.NewConnection,
    principal: Annotated[Principal, allow("declare_connection")],
    store: Store,
    clock: Clock,
    metadata: Metadata,
) -> schemas.ConnectionAnswer:
    """Declare that a ready producer sells through a channel. A lead enterprise needs an accepted offer of its own."""
    access = await access_scope_of(store, principal)
    await find_producer(store, id, access)
    result = await execute(store, id, _command(id, body, principal, access.lead), clock, metadata)
    return schemas.connection_answer(result.record, await created_name(store, result, metadata))


@router.post("/connections/{id}/evidence")
async def raise_evidence(
    id: str,
    body: schemas.Evidence,
    principal: Annotated[Principal, allow("verify_evidence")],
    store: Store,
    clock: Clock,
    metadata: Metadata,
) -> schemas.ConnectionAnswer:
    """Show better evidence of a connection: E2 at most for officers and lead enterprises, E3 for services."""
    access = await access_scope_of(store, principal)
    subject, name = await split_id(store, id, access, "connection")
    command = RaiseEvidence(name, body.to, _role(principal), access.lead)
    return schemas.connection_answer((await execute(store, subject, command, clock, metadata)).record, name)


@router.post("/connections/{id}/end")
async def end_connection(
    id: str,
    body: schemas.Ending,
    principal: Annotated[Principal, allow("match")],
    store: Store,
    clock: Clock,
    metadata: Metadata,
) -> schemas.ConnectionAnswer:
    """End a connection."""
    access = await access_scope_of(store, principal)
    subject, name = await split_id(store, id, access, "connection")
    command = End(name, body.reason, access.lead)
    return schemas.connection_answer((await execute(store, subject, command, clock, metadata)).record, name)


def _command(subject: str, body: schemas.NewConnection, principal: Principal, lead: str) -> Connect:
    producer, _, name = body.offer.rpartition(".")
    offer = name if producer == subject else body.offer  # an offer of another producer is unknown to this one
    return Connect(body.channel, body.counterparty_kind, body.evidence, offer, _role(principal), lead)


def _role(principal: Principal) -> str:
    """Return the role of the principal that may show the highest evidence."""
    return max(principal.roles & HIGHEST.keys(), key=lambda role: HIGHEST[role], default="")
