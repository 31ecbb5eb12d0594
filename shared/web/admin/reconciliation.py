"""Reconciliation over HTTP: what owners of events answer to consumers, and what a consumer has found.

The former lies under `/internal/`, which the gateway and an ingress do not forward, and takes tokens of services only.
"""

from datetime import datetime
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Path, Request, Response
from pydantic import BaseModel, Field

from base.clock import machine_now
from contracts.commands import Refused
from contracts.subjects import PARTITIONS
from contracts.topics import topic_of, topics_consumed_by
from kernel.stores.mongodb import MongoStore
from recovery.reconciliation.client import PATH
from recovery.reconciliation.digests import BUCKETS
from recovery.reconciliation.owner import OwnRecords
from recovery.reconciliation.results import Comparison, Results
from security.auth import Principal
from web.app import Body
from web.authorization import allow
from web.dependencies import Store

SUBJECTS_LIMIT = 1_000  # in one request

owner = APIRouter(prefix=PATH, tags=["internal"], include_in_schema=False)  # of services that emit events
comparisons = APIRouter(prefix="/v1/reconciliation", tags=["operators"])


class Kinds(Body):
    """Which kinds of subjects the consumer has rules for."""

    kinds: list[str] = Field(max_length=20)


class DifferingBuckets(Kinds):
    """Buckets that differ."""

    buckets: list[Annotated[int, Field(ge=0, lt=BUCKETS)]] = Field(max_length=BUCKETS)


class Everything(Body):
    """There is nothing to choose yet."""


class Since(Body):
    """Subjects, each with the sequence of the first event that is wanted."""

    since: dict[str, Annotated[int, Field(ge=0)]] = Field(max_length=SUBJECTS_LIMIT)


class Difference(BaseModel):
    """A subject about which a consumer has handled something that its owner does not hold so."""

    subject: str
    kind: str = Field(description="owner_behind: handled more than the owner holds. differs: not the same event.")
    handled: int = Field(description="Sequence of the last event that was handled.")
    held: int = Field(description="Sequence of the last event that the owner holds.")


class PartitionComparison(BaseModel):
    """The last comparison of one partition with the owner of a source."""

    source: str
    partition: int
    at: datetime | None = Field(description="When it was last compared completely.")
    subjects: int
    buckets: int = Field(description="Of 1,024 that differed, also by events that were on their way.")
    repaired: int = Field(description="Events that were missing, ever; they were taken from the owner.")
    repaired_at: datetime | None
    disagreement_count: int
    disagreements: list[Difference] = Field(description="At most 100.")
    failed_at: datetime | None
    failure: str = Field(description="Why it could not be compared since.")


class ReconciliationRequest(BaseModel):
    """A comparison was requested: those that are later belong to it."""

    requested_at: datetime


async def _own_records(
    request: Request, store: Store, principal: Annotated[Principal, allow("read_owner")]
) -> OwnRecords:
    """Return the records, to those services only that consume the events of this one. Raise Refused: forbidden."""
    if topic_of(store.service) not in topics_consumed_by(principal.id):
        raise Refused("forbidden")
    if not hasattr(request.app.state, "own_records"):
        request.app.state.own_records = OwnRecords(store)
    records: OwnRecords = request.app.state.own_records
    return records


Records = Annotated[OwnRecords, Depends(_own_records)]
Partition = Annotated[int, Path(ge=0, lt=PARTITIONS)]


@owner.post("/partitions/{partition}/digests")
async def read_digests(partition: Partition, body: Kinds, records: Records) -> Response:
    """Return the digest of each bucket of a partition."""
    return _json(await records.digests(partition, body.kinds))


@owner.post("/partitions/{partition}/lines")
async def read_lines(partition: Partition, body: DifferingBuckets, records: Records) -> Response:
    """Return subject, sequence and digest of the last event of each subject in these buckets."""
    return _json(await records.lines(partition, body.kinds, body.buckets))


@owner.post("/histories")
async def read_histories(body: Since, records: Records) -> Response:
    """Return the events about these subjects."""
    return _json(await records.histories(body.since))


@comparisons.get("")
async def list_comparisons(
    principal: Annotated[Principal, allow("reconcile", "R")], store: Store
) -> list[PartitionComparison]:
    """Return what the last comparisons with the owners of consumed events have found."""
    return [_shown(each) for each in await Results(store.database).all()] if isinstance(store, MongoStore) else []


@comparisons.post("")
async def request_comparison(
    body: Everything, principal: Annotated[Principal, allow("reconcile")], store: Store
) -> ReconciliationRequest:
    """Compare everything now; the workers begin within seconds."""
    requested = await Results(store.database).request() if isinstance(store, MongoStore) else machine_now()
    return ReconciliationRequest(requested_at=requested)


def _json(value: Any) -> Response:
    return Response(msgspec.json.encode(value), media_type="application/json")


def _shown(each: Comparison) -> PartitionComparison:
    return PartitionComparison(**msgspec.to_builtins(each))
