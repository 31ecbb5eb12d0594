"""Response models: each figure with numerator and denominator, the as-of time and the number of events."""

from collections.abc import Sequence
from datetime import datetime
from fractions import Fraction
from typing import Annotated, Any, Literal

from msgspec.structs import asdict
from pydantic import BaseModel, ConfigDict, Field

from programme.calendar import TEHRAN
from programme.reference import provinces
from reporting.domain import round as rounds
from reporting.domain.figures import Figures
from reporting.domain.indicators import STAGES, Counts, Term
from reporting.domain.ranking import Row

Exact = Annotated[str, Field(description="An exact fraction, `3/7`.", examples=["2923/10000"])]
Shown = Annotated[str, Field(description="A decimal as shown, rounded half to even.", examples=["48.58"])]
TableName = Literal["composite", "1", "2", "3"]


class Response(BaseModel):
    """A response of the API."""

    model_config = ConfigDict(frozen=True)


class Simulated(Response):
    """The round is a simulation: no one in it is real."""

    scale: Exact = Field(description="Share of its size that a province has.", examples=["1/25"])
    whole: list[str] = Field(description="Provinces that have their whole size.", examples=[["IR-20"]])


class AsOf(Response):
    """Which figures these are: their round, as-of time, number of events and latency."""

    round: str = Field(examples=["1404"])
    policy: str = Field(description="The version of the formula and the deadlines.", examples=["1404-1"])
    as_of: datetime = Field(description="Programme time at which the figures were computed.")
    events: int = Field(description="Events counted so far.")
    version: int = Field(description="Grows whenever a figure changes.")
    latency_p50: float | None = Field(description="Seconds from an event to its tally, median of the newest.")
    latency_p95: float | None = Field(description="The same, the 95th percentile.")
    simulated: Simulated | None = Field(default=None, description="Set while the figures are simulated.")


class TermResponse(Response):
    """One term of a score."""

    id: str = Field(examples=["M2"])
    numerator: int
    denominator: int
    value: Exact = Field(description="The share, capped if the formula caps it; 0 if the denominator is 0.")
    weight: Exact
    contribution: Exact = Field(description="Weight times value.")
    dropped: bool = Field(description="Left out for too few cases; the stage is divided by the other weights.")


class CountsResponse(Response):
    """The counts behind all scores; `docs/methodology.md` defines them. Medians are in working days."""

    quota: int
    registered: int
    verified: int
    screened: int
    approved: int
    appealed: int = Field(description="Of the screened: rejections against which an appeal was filed.")
    overturned: int = Field(description="Of the appealed: approved by the decision on the appeal.")
    screened_in_time: int
    screening_due: int
    admitted: int
    identified: int
    identified_in_time: int
    capacity_due: int
    ready: int
    connected: int
    sustained: int
    sustainable: int
    claims: int
    claims_documented: int
    claims_confirmed: int
    claims_sold: int
    claims_sustained: int
    gave_up: int = Field(description="Identified producers who withdrew and gave up their seat in this Jalali month.")
    gave_up_sustainable: int = Field(description="Of these, whose first evidence at E2 was old enough.")
    withdrawn: int = Field(description="Applications that were withdrawn, before or after a decision.")
    withdrawn_by_officer: int = Field(description="Of these, recorded by an officer on a signed form.")
    officer_acts: int = Field(description="Corrections, tracking codes and withdrawals that officers recorded.")
    to_decision: int | None
    applicant_turn: int | None = Field(
        description="Of to_decision, of those asked for papers: the days on which it was their turn."
    )
    to_capacity: int | None
    to_market: int | None
    end_to_end: int | None


class RowResponse(Response):
    """One province in one table."""

    rank: int | None = Field(description="Equal rows share a rank: 1, 2, 2, 4. Null without a quota.")
    province: str = Field(examples=["IR-20"])
    name_fa: str
    name_en: str
    change: int | None = Field(description="Ranks gained since the end of last month.")
    shown: Shown = Field(description="The value of the table, of 100.")
    exact: Exact = Field(description="The exact value it is ranked on: for the composite D^4 * S1 * S2 * S3^2.")
    index: Shown
    d: Exact = Field(description="The data factor.")
    stages: tuple[Exact, Exact, Exact]
    small_base: bool
    unranked: str = Field(description="Why it has no rank: `no_quota`, or empty.")
    counts: CountsResponse


class RankingResponse(AsOf):
    """A table; it always has 31 rows."""

    table: TableName
    rows: list[RowResponse]


class RankingChanges(AsOf):
    """The rows of a table that changed since a version; the other rows are as they were."""

    table: TableName
    since: int
    rows: list[RowResponse]


class ProvinceResponse(AsOf):
    """How a province's rank comes about."""

    province: str
    name_fa: str
    name_en: str
    ranks: dict[TableName, int | None]
    index: Shown
    rank_value: Exact
    d: Exact
    data: list[TermResponse]
    stages: list["StageResponse"]
    small_base: bool
    unranked: str = Field(description="Why it has no rank: `no_quota`, or empty.")
    counts: CountsResponse


class StageResponse(Response):
    """The score of a stage and its terms."""

    stage: int = Field(examples=[3])
    rank: int | None
    score: Exact
    shown: Shown
    terms: list[TermResponse]


class NationwideResponse(AsOf):
    """The sums over all provinces, without medians."""

    provinces: int
    ranked: int
    counts: CountsResponse


def exact(value: Fraction) -> str:
    """Return `3/7`."""
    return f"{value.numerator}/{value.denominator}"


def simulated(state: rounds.State) -> Simulated | None:
    """Return how large the simulation is, or None for a real round."""
    scale = rounds.simulated_scale(state, "")
    return None if scale is None else Simulated(scale=exact(scale), whole=list(state.simulated_whole))


def as_of(figures: Figures) -> dict[str, Any]:
    """Return the fields of AsOf."""
    return {
        "round": figures.round.round,
        "policy": figures.policy.version,
        "as_of": figures.as_of.astimezone(TEHRAN),
        "events": figures.events,
        "version": figures.version,
        "latency_p50": figures.latency(0.5),
        "latency_p95": figures.latency(0.95),
        "simulated": simulated(figures.round),
    }


def ranking(figures: Figures, name: TableName) -> RankingResponse:
    """Return one table."""
    rows = [_row(figures, name, row) for row in figures.tables[name]]
    return RankingResponse(**as_of(figures), table=name, rows=rows)


def ranking_changes(figures: Figures, name: TableName, rows: Sequence[RowResponse], since: int) -> RankingChanges:
    """Return rows of one table."""
    return RankingChanges(**as_of(figures), table=name, since=since, rows=list(rows))


def province(figures: Figures, code: str) -> ProvinceResponse:
    """Return one province."""
    score, names = figures.scores[code], provinces()[code]
    stages = [
        StageResponse(
            stage=number,
            rank=figures.ranks[str(number)][code],
            score=exact(score.stages[number - 1]),
            shown=str(figures.row(str(number), code).shown),
            terms=[_term(term) for term in score.terms[stage]],
        )
        for number, stage in enumerate(STAGES, 1)
    ]
    return ProvinceResponse(
        **as_of(figures),
        province=code,
        name_fa=names.name_fa,
        name_en=names.name_en,
        ranks={name: figures.ranks[name][code] for name in ("composite", "1", "2", "3")},
        index=str(figures.row("composite", code).shown),
        rank_value=exact(score.rank_value),
        d=exact(score.d),
        data=[_term(term) for term in score.data],
        stages=stages,
        small_base=score.small_base,
        unranked=score.unranked,
        counts=_counts(score.counts),
    )


def nationwide(figures: Figures) -> NationwideResponse:
    """Return the sums over all provinces."""
    ranked = sum(rank is not None for rank in figures.ranks["composite"].values())
    return NationwideResponse(
        **as_of(figures), provinces=len(figures.counts), ranked=ranked, counts=_counts(figures.nationwide)
    )


def _row(figures: Figures, name: TableName, row: Row) -> RowResponse:
    score, names = row.score, provinces()[row.province]
    s1, s2, s3 = score.stages
    return RowResponse(
        rank=row.rank,
        province=row.province,
        name_fa=names.name_fa,
        name_en=names.name_en,
        change=figures.change(name, row.province),
        shown=str(row.shown),
        exact=exact(score.ranked_on(name)),
        index=str(figures.row("composite", row.province).shown),
        d=exact(score.d),
        stages=(exact(s1), exact(s2), exact(s3)),
        small_base=score.small_base,
        unranked=score.unranked,
        counts=_counts(score.counts),
    )


def _term(term: Term) -> TermResponse:
    return TermResponse(
        id=term.id,
        numerator=term.numerator,
        denominator=term.denominator,
        value=exact(term.value),
        weight=exact(term.weight),
        contribution=exact(term.contribution),
        dropped=term.dropped,
    )


def _counts(counts: Counts) -> CountsResponse:
    return CountsResponse(**asdict(counts))
