"""The words an event may be made of: closed vocabularies, patterns, small numbers, days of the programme.

They shape the published schemas and hold no name, number or text of a person. Readers take what they do not know yet.
"""

from collections.abc import Iterable
from datetime import date, datetime
from typing import Annotated, Any

from msgspec import Meta

from contracts import codes


def _one_of(vocabulary: Iterable[str]) -> Meta:
    return Meta(extra_json_schema={"enum": list(vocabulary)})


def _like(pattern: str, **more: Any) -> Meta:
    return Meta(extra_json_schema={"pattern": pattern, **more})


def _up_to(maximum: int, minimum: int = 0) -> Meta:
    return Meta(extra_json_schema={"minimum": minimum, "maximum": maximum})


Sex = Annotated[str, _one_of(codes.SEXES)]
AgeBand = Annotated[str, _one_of(codes.AGE_BANDS)]
WorkMode = Annotated[str, _one_of(codes.WORK_MODES)]
IntakeChannel = Annotated[str, _one_of(codes.INTAKE_CHANNELS)]
IdentityResult = Annotated[str, _one_of(codes.IDENTITY_RESULTS)]
SeatReleaseReason = Annotated[str, _one_of(codes.SEAT_RELEASE_REASONS)]
WithdrawalReason = Annotated[str, _one_of(codes.WITHDRAWAL_REASONS)]
Outcome = Annotated[str, _one_of(codes.OUTCOMES)]
DecisionReason = Annotated[str, _one_of(codes.DECISION_REASONS)]
ProductGroup = Annotated[str, _one_of(codes.PRODUCT_GROUPS)]
Unit = Annotated[str, _one_of(codes.UNITS)]
MonthlyBand = Annotated[str, _one_of(codes.MONTHLY_BANDS)]
SkillLevel = Annotated[str, _one_of(codes.SKILL_LEVELS)]
Need = Annotated[str, _one_of(codes.NEEDS)]
Channel = Annotated[str, _one_of(codes.CHANNELS)]
CounterpartyKind = Annotated[str, _one_of(codes.COUNTERPARTY_KINDS)]
Evidence = Annotated[str, _one_of(codes.EVIDENCE)]
DeclineReason = Annotated[str, _one_of(codes.DECLINE_REASONS)]
EndReason = Annotated[str, _one_of(codes.END_REASONS)]
LeadService = Annotated[str, _one_of(codes.LEAD_SERVICES)]

JobFieldCode = Annotated[str, _like(r"^[A-Z]{2}[0-9]{3}$")]
PolicyVersion = Annotated[str, _like(r"^([0-9]{4}-[0-9]{1,3})?$")]
OfferNumber = Annotated[str, _like(r"^o[1-9][0-9]{0,3}$")]  # which of this producer's offers
OfferReference = Annotated[str, _like(r"^(o[1-9][0-9]{0,3})?$")]  # none: empty
ConnectionNumber = Annotated[str, _like(r"^c[1-9][0-9]{0,3}$")]  # which of this producer's connections
LeadId = Annotated[str, _like(r"^([0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})?$")]  # nobody: empty

ApplicationNumber = Annotated[int, _up_to(1_000, 1)]
Seats = Annotated[int, _up_to(1_000_000)]
WorkingHours = Annotated[int, _up_to(100_000)]

# Days and instants that the programme sets; a day out of a person's life is none of them.
ProgrammeDay = Annotated[date, Meta(extra_json_schema={"format": "date", "x-of": "programme"})]
ProgrammeInstant = Annotated[datetime, Meta(extra_json_schema={"format": "date-time", "x-of": "programme"})]
