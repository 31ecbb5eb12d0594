"""Field types of events: closed vocabularies, narrow patterns, small integers, and dates set by the programme.

They shape the published schemas, and none of them can hold a name, a number or a text of a person. Producers keep to
them. Consumers refuse what does not, as `invalid`, except for unknown codes: a vocabulary may grow.
"""

from collections.abc import Iterable
from datetime import date, datetime
from typing import Annotated, Any

from msgspec import Meta

from contracts import codes
from contracts.subjects import PROVINCE

YEARS = frozenset(range(2000, 3000))  # of all dates and times: calculations with them stay within what a date can be
YEAR_PATTERN = "^2[0-9]{3}-"
INSTANT_YEARS = frozenset(range(2000, 2900))  # of what has happened: its deadlines stay within YEARS
INSTANT_PATTERN = "^2[0-8][0-9]{2}-"
END = r"\Z"  # of a pattern: in Python, $ also matches before a line break at the end

FEW, MANY = Meta(max_length=50), Meta(max_length=1_000)  # items of a list


def _one_of(vocabulary: Iterable[str], description: str) -> Meta:
    return Meta(description=description, extra_json_schema={"enum": list(vocabulary)})


def _matching(pattern: str, description: str) -> Meta:
    return Meta(description=description, pattern=pattern.removesuffix("$") + END)


def _between(minimum: int, maximum: int, description: str) -> Meta:
    return Meta(description=description, ge=minimum, le=maximum)


def _set_by_programme(format_: str, description: str) -> dict[str, Any]:
    schema = {"format": format_, "pattern": YEAR_PATTERN, "x-set-by": "programme"}
    return {"description": description, "extra_json_schema": schema}


Sex = Annotated[str, _one_of(codes.SEXES, "Sex of the applicant.")]
AgeBand = Annotated[str, _one_of(codes.AGE_BANDS, "Age of the applicant at registration, in Jalali years.")]
WorkMode = Annotated[str, _one_of(codes.WORK_MODES, "Whether the applicant works alone, supported or for a workshop.")]
IntakeChannel = Annotated[str, _one_of(codes.INTAKE_CHANNELS, "How the application reached the platform.")]
IdentityResult = Annotated[str, _one_of(codes.IDENTITY_RESULTS, "Response of the identity registry.")]
SeatReleaseReason = Annotated[str, _one_of(codes.SEAT_RELEASE_REASONS, "Why the seat became free.")]
ReviewReason = Annotated[str, _one_of(codes.REVIEW_REASONS, "Why a second look at an approval disagrees.")]
Condition = Annotated[str, _one_of(codes.CONDITIONS, "Condition of eligibility that the officer asked about.")]
CallOutcome = Annotated[str, _one_of(codes.CALL_OUTCOMES, "What came of the call to the applicant.")]
ClaimReleaseReason = Annotated[
    str, _one_of(codes.CLAIM_RELEASE_REASONS, "Why the case is no longer reserved for the officer who claimed it.")
]
WithdrawalReason = Annotated[str, _one_of(codes.WITHDRAWAL_CAUSES, "Why the applicant withdrew, or was withdrawn.")]
ErasureReason = Annotated[str, _one_of(codes.ERASURE_REASONS, "Why the applicant's data was erased.")]
ProposalAction = Annotated[str, _one_of(codes.PROPOSAL_ACTIONS, "What the proposal changes.")]
ProposalReason = Annotated[str, _one_of(codes.PROPOSAL_REASONS, "Why it is proposed.")]
ProposalRefusal = Annotated[str, _one_of(codes.PROPOSAL_REFUSALS, "Why the second person did not sign.")]
Outcome = Annotated[str, _one_of(codes.OUTCOMES, "Outcome of the screening.")]
DecisionReason = Annotated[str, _one_of(codes.DECISION_REASONS, "Reason of a screening decision.")]
InfoItem = Annotated[str, _one_of(codes.INFO_ITEMS, "Paper or photo that the applicant is asked for.")]
ProductGroup = Annotated[str, _one_of(codes.PRODUCT_GROUPS, "Product group of the applicant's work.")]
Unit = Annotated[str, _one_of(codes.UNITS, "Unit in which the monthly output is counted.")]
MonthlyBand = Annotated[str, _one_of(codes.MONTHLY_BANDS, "Monthly output, in units.")]
SkillLevel = Annotated[str, _one_of(codes.SKILL_LEVELS, "Skill of the applicant in the job field.")]
Need = Annotated[str, _one_of(codes.NEEDS, "Support that the applicant needs to produce.")]
Channel = Annotated[str, _one_of(codes.CHANNELS, "Sales channel.")]
CounterpartyKind = Annotated[str, _one_of(codes.COUNTERPARTY_KINDS, "Kind of the buyer or intermediary.")]
Evidence = Annotated[
    str, _one_of(codes.EVIDENCE, "Strength of the proof, ascending: E0 declared, E1 documented ... E4 sustained.")
]
DeclineReason = Annotated[str, _one_of(codes.DECLINE_REASONS, "Why the producer declined the offer.")]
EndReason = Annotated[str, _one_of(codes.END_REASONS, "Why the connection ended.")]
LeadService = Annotated[str, _one_of(codes.LEAD_SERVICES, "Service that the lead enterprise provides.")]

ProvinceCode = Annotated[str, _matching(f"^{PROVINCE}$", "Code of a province.")]
ProposalId = Annotated[
    str,
    _matching(
        r"^([0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})?$",
        "Id of the proposal that was signed; may be empty.",
    ),
]
JobFieldCode = Annotated[str, _matching(r"^[A-Z]{2}[0-9]{3}$", "Code of a job field.")]
PolicyVersion = Annotated[
    str, _matching(r"^([0-9]{4}-[0-9]{1,3})?$", "Version of the policies by which the decision was made.")
]
CalendarVersion = Annotated[
    str, _matching(r"^([0-9]{4}-[0-9]{1,3})?$", "Version of the calendar of working days by which `due` was computed.")
]
FormNumber = Annotated[
    str,
    _matching(
        r"^[0-3][0-9]-14[0-9]{2}-[0-9]{1,5}$",
        "Number of a signed paper form: the province's two digits, the Jalali year, and a number within the year.",
    ),
]
OfferNumber = Annotated[str, _matching(r"^o[1-9][0-9]{0,3}$", "Number of the offer among this producer's offers.")]
OfferReference = Annotated[
    str, _matching(r"^(o[1-9][0-9]{0,3})?$", "Accepted offer that led to the connection; empty if there was none.")
]
ConnectionNumber = Annotated[
    str, _matching(r"^c[1-9][0-9]{0,3}$", "Number of the connection among this producer's connections.")
]
LeadId = Annotated[
    str,
    _matching(
        r"^([0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})?$",
        "Id of the lead enterprise that made the offer; empty if there was none.",
    ),
]

ApplicationNumber = Annotated[
    int, _between(1, 1_000, "Number of the application among this applicant's applications in the round, from 1.")
]
Seats = Annotated[int, _between(0, 1_000_000, "Number of seats.")]
PerMille = Annotated[int, _between(0, 1_000, "Size of a simulation, in thousandths of a real round; 0 if it is real.")]
WorkingHours = Annotated[
    int, _between(0, 100_000, "Whole working hours from opening to decision, eight per working day.")
]

# Dates and times that the programme sets; a date from a person's life, as a birth date, must not use these types.
ProgrammeDay = Annotated[date, Meta(**_set_by_programme("date", "Date in Tehran, set by the programme."))]
ProgrammeInstant = Annotated[datetime, Meta(tz=True, **_set_by_programme("date-time", "Time set by the programme."))]
