"""The example story: one round and one applicant in which every event type occurs; published examples come from it.

The story is a list of steps. A step has a time of its own and names the steps that it needs: those without which it
could not happen. Two things are made from the list:

* `story()` replays all steps in the order of their times, dense for every source and subject. Tests of consumers
  replay it whole.
* `examples()` holds one event per type, for publication. The example of a step is the last event of the *smallest*
  story that contains it: the steps that it needs, and the steps that those need. Its `sequence` and `cause` count in
  that smallest story only, and each example is about an applicant of its own, so that ids stay unique.

Hence a step that is added in the middle changes no example but its own, as long as no existing step is changed: it
shifts the sequences of `story()`, which is not published, and is in no other step's smallest story. In examples
`previous` is the digest of the previous event's id instead of its bytes, so that an event that gains a field changes
its own example only.

To add an event: add a step at any place, with what it needs, then run `make contracts`.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, date, datetime, timedelta

import msgspec

from contracts import events as e
from contracts.envelope import Context, Envelope, digest, encode
from contracts.subjects import lead_subject, ledger_subject, proposal_subject, round_subject

POLICY = "1404-1"  # version of the policies that apply in the story
APPLICANT = "0199d5a2-7c40-7e51-9a3b-4f2d1c0b8a67"
LEAD = "0199d5a2-0b10-7c22-8f4e-6a5d3c2b1f09"
PROPOSAL = "0199fb3c-1d20-7a44-b0c5-7e8f9a0b1c20"
OPENED = datetime(2025, 9, 27, 4, 30, tzinfo=UTC)  # 1404-07-05, 08:00 in Tehran
ROUND = Context(round="1404", policy=POLICY)
PROVINCE = Context(round="1404", province="IR-20", policy=POLICY)
APPLICATION = Context(round="1404", province="IR-20", county="2002", field="JF001", policy=POLICY)

_MINISTRY, _REGISTRAR, _SCREENER = "ministry_admin:of-07aa", "registrar:of-2f9c", "screener:of-91d3"
_JAHAD = "jahad_national:of-3d7e"
_MANAGER, _WEB, _CLOCK = "manager:of-5c1e", "web:", "clock:"


class Step(msgspec.Struct, frozen=True):
    """One event of the story, with the ids of the steps that it needs; `cause` is needed as well."""

    id: str
    time: datetime
    event: e.Event
    actor: str = ""
    needs: tuple[str, ...] = ()
    cause: str = ""
    subject: str = ""  # empty: the applicant
    context: Context = APPLICATION

    @property
    def source(self) -> str:
        """The service that emits the event: third part of `ir.peyvand.<service>.*`."""
        return self.event.TYPE.split(".")[2]


def at(day: int, minute: int) -> datetime:
    """Return a time of the story: days since the round was opened, minutes since 08:00 in Tehran on that day."""
    return OPENED + timedelta(days=day, minutes=minute)


_PROPOSED = e.ProposalMade(
    action="move_seats",
    reason="unused_seats",
    provinces=("IR-06", "IR-20"),
    before=(2_600, 1_300),
    after=(2_540, 1_360),
    expires=at(125, 0),
)
_ENDS = (  # of proposals
    ("proposal.signed", e.ProposalSigned(), _MINISTRY),
    ("proposal.declined", e.ProposalDeclined(reason="not_needed"), _MINISTRY),
    ("proposal.withdrawn", e.ProposalWithdrawn(), _JAHAD),
    ("proposal.expired", e.ProposalExpired(), _CLOCK),
)

_SETUP = (
    Step(
        "round.opened",
        at(0, 0),
        e.RoundOpened(fields=("JF001", "JF004"), opens=OPENED, closes=OPENED + timedelta(days=60)),
        _MINISTRY,
        subject=round_subject("1404"),
        context=ROUND,
    ),
    Step(
        "round.window_set",
        at(0, 10),
        e.RoundWindowSet(opens=OPENED, closes=OPENED + timedelta(days=30)),
        _MINISTRY,
        needs=("round.opened",),
        subject=round_subject("1404"),
        context=PROVINCE,
    ),
    Step(
        "quota.set",
        at(0, 20),
        e.QuotaSet(quota=1_300, previous=1_200),
        _MINISTRY,
        needs=("round.opened",),
        subject=ledger_subject("1404", "IR-20"),
        context=PROVINCE,
    ),
    Step(
        "quota.moved",
        at(120, 21),
        e.QuotaMoved(quota=1_360, previous=1_300, counterpart="IR-06", proposal=PROPOSAL),
        _MINISTRY,
        needs=("quota.set",),
        subject=ledger_subject("1404", "IR-20"),
        context=PROVINCE,
    ),
    *(
        Step(id_, at(day, n), event, actor, (needed,), "", proposal_subject("1404", f"{PROPOSAL[:-1]}{n}"), ROUND)
        for n, (name, end, second) in enumerate(_ENDS)
        for id_, day, event, actor, needed in (
            (f"{name}.proposed", 118, _PROPOSED, _JAHAD, "quota.set"),
            (name, 120, end, second, f"{name}.proposed"),
        )
    ),
    Step(
        "lead.enlisted",
        at(0, 30),
        e.LeadEnlisted(services=("training", "sale"), fields=("JF001",)),
        _MINISTRY,
        subject=lead_subject(LEAD),
        context=Context(province="IR-20"),
    ),
)

_REGISTRATION = (
    Step(
        "registered",
        at(1, 60),
        e.ApplicantRegistered(sex="female", age_band="25-34", work_mode="independent", intake_channel="desk"),
        _REGISTRAR,
        needs=("round.opened",),
    ),
    Step("identity_checked", at(1, 70), e.ApplicantIdentityChecked(result="match"), needs=("registered",)),
    Step(
        "updated",
        at(2, 0),
        e.ApplicantUpdated(sex="female", age_band="25-34", work_mode="workshop", identity_changed=True),
        _REGISTRAR,
        needs=("identity_checked",),
    ),
    Step("waitlisted", at(17, 5), e.ApplicantWaitlisted(), needs=("identity_checked", "case.decided")),
    Step("admitted", at(20, 0), e.ApplicantAdmitted(promoted=True), needs=("waitlisted",)),
    Step("code_reissued", at(165, 0), e.ApplicantCodeReissued(), _REGISTRAR, needs=("registered",)),
    Step("withdrawn", at(170, 0), e.ApplicantWithdrawn(reason="found_work"), _WEB, needs=("admitted",)),
    Step("seat_released", at(170, 1), e.ApplicantSeatReleased(reason="withdrawn"), needs=("withdrawn",)),
    Step(
        "reactivated",
        at(180, 0),
        e.ApplicantReactivated(
            application=2, sex="female", age_band="25-34", work_mode="independent", intake_channel="web"
        ),
        _WEB,
        needs=("withdrawn",),
    ),
    Step(
        "withdrawn.erased",
        at(200, 0),
        e.ApplicantWithdrawn(application=2, reason="erased"),
        _MANAGER,
        needs=("reactivated",),
    ),
    Step(
        "erased", at(200, 1), e.ApplicantErased(application=2, reason="request"), _MANAGER, needs=("withdrawn.erased",)
    ),
)

_SCREENING = (
    Step("case.opened", at(1, 65), e.CaseOpened(due=date(2025, 10, 9), calendar=POLICY), cause="registered"),
    Step("case.claimed", at(2, 30), e.CaseClaimed(until=at(2, 150)), _SCREENER, needs=("case.opened",)),
    Step("case.released", at(2, 40), e.CaseReleased(reason="returned"), _SCREENER, needs=("case.claimed",)),
    Step("case.call_logged", at(2, 35), e.CaseCallLogged(outcome="call_back"), _SCREENER, needs=("case.claimed",)),
    Step("case.call_agreed", at(2, 36), e.CaseCallAgreed(at=at(3, 120)), _SCREENER, needs=("case.call_logged",)),
    Step("case.reviewed", at(17, 30), e.CaseReviewed(reasons=("question_open",)), _MANAGER, needs=("case.decided",)),
    Step("case.breached", at(13, 0), e.CaseBreached(due=date(2025, 10, 9)), _CLOCK, needs=("case.opened",)),
    Step(
        "case.decided",
        at(16, 120),
        e.CaseDecided(
            outcome="approved",
            reasons=("meets_conditions",),
            rule_version=POLICY,
            working_hours=96,
            within_sla=False,
        ),
        _SCREENER,
        needs=("case.opened",),
    ),
    Step(
        "capacity.requested", at(20, 2), e.CapacityRequested(due=date(2025, 11, 9), calendar=POLICY), cause="admitted"
    ),
    Step(
        "capacity.breached", at(44, 0), e.CapacityBreached(due=date(2025, 11, 9)), _CLOCK, needs=("capacity.requested",)
    ),
    Step(
        "capacity.identified",
        at(46, 180),
        e.CapacityIdentified(
            product_group="handicrafts",
            unit="square_metre",
            monthly_band="1-9",
            skill_level="skilled",
            needs=("training", "packaging"),
        ),
        _SCREENER,
        needs=("capacity.requested",),
    ),
    Step(
        "case.opened.second",
        at(180, 2),
        e.CaseOpened(application=2, due=date(2026, 4, 9), calendar=POLICY),
        cause="reactivated",
    ),
    Step(
        "case.info_requested",
        at(180, 30),
        e.CaseInfoRequested(
            application=2,
            items=("skill_certificate", "sample_photo"),
            due=date(2026, 4, 13),
            case_due=date(2026, 4, 26),
            calendar=POLICY,
        ),
        _SCREENER,
        needs=("case.opened.second",),
    ),
    Step(
        "case.info_supplied",
        at(181, 30),
        e.CaseInfoSupplied(application=2, items=("sample_photo",), case_due=date(2026, 4, 9)),
        _REGISTRAR,
        needs=("case.info_requested",),
    ),
    Step(
        "case.info_lapsed",
        at(199, 0),
        e.CaseInfoLapsed(application=2, due=date(2026, 4, 13)),
        _CLOCK,
        needs=("case.info_requested",),
    ),
    Step(
        "case.decided.second",
        at(181, 60),
        e.CaseDecided(application=2, outcome="rejected", reasons=("insured",), rule_version=POLICY, working_hours=9),
        _SCREENER,
        needs=("case.opened.second",),
    ),
    Step(
        "case.appealed",
        at(182, 30),
        e.CaseAppealed(application=2, due=date(2026, 4, 11), form="20-1404-173", calendar=POLICY),
        _REGISTRAR,
        needs=("case.decided.second",),
    ),
    Step(
        "case.appeal_breached",
        at(197, 0),
        e.CaseAppealBreached(application=2, due=date(2026, 4, 11)),
        _CLOCK,
        needs=("case.appealed",),
    ),
    Step(
        "case.appeal_decided",
        at(198, 120),
        e.CaseAppealDecided(application=2, outcome="approved", reasons=("meets_conditions",), rule_version=POLICY),
        _MANAGER,
        needs=("case.appealed",),
    ),
)

_MARKET = (
    Step("readied", at(46, 185), e.ProducerReadied(product_group="handicrafts"), cause="capacity.identified"),
    Step(
        "offer.made",
        at(48, 0),
        e.OfferMade(offer="o1", channel="lead_enterprise", lead=LEAD),
        _MANAGER,
        needs=("readied", "lead.enlisted"),
    ),
    Step("offer.accepted", at(50, 0), e.OfferAccepted(offer="o1"), _MANAGER, needs=("offer.made",)),
    Step(
        "connected",
        at(52, 0),
        e.ProducerConnected(
            connection="c1", channel="lead_enterprise", counterparty_kind="lead_enterprise", evidence="E1", offer="o1"
        ),
        _MANAGER,
        needs=("offer.accepted",),
    ),
    Step(
        "evidenced",
        at(58, 0),
        e.ConnectionEvidenced(connection="c1", from_="E1", to="E2"),
        _MANAGER,
        needs=("connected",),
    ),
    Step(
        "offer.made.second", at(59, 0), e.OfferMade(offer="o2", channel="exhibition"), _MANAGER, needs=("offer.made",)
    ),
    Step(
        "offer.declined",
        at(60, 0),
        e.OfferDeclined(offer="o2", reason="distance"),
        _MANAGER,
        needs=("offer.made.second",),
    ),
    Step("sustained", at(148, 0), e.ConnectionSustained(connection="c1"), _CLOCK, needs=("evidenced",)),
    Step(
        "ended",
        at(170, 5),
        e.ConnectionEnded(connection="c1", reason="withdrawn"),
        needs=("connected",),
        cause="withdrawn",
    ),
)

STORY = (*_SETUP, *_REGISTRATION, *_SCREENING, *_MARKET)


def story(steps: Iterable[Step] = STORY) -> list[Envelope]:
    """Replay the whole story in the order of its times; sequences are dense for every source and subject."""
    return _replay(steps, APPLICANT, encode)


def examples(steps: Sequence[Step] = STORY) -> dict[str, bytes]:
    """Return one encoded example per event type, from the first step of the type in the list."""
    by_type: dict[str, bytes] = {}
    for step in steps:
        if step.event.TYPE not in by_type:
            by_type[step.event.TYPE] = encode(_example(step, steps))
    return by_type


def _example(step: Step, steps: Sequence[Step]) -> Envelope:
    """Replay the smallest story that ends with this step, about an applicant of its own, and return its last event."""
    by_id = {each.id: each for each in steps}
    needed: dict[str, Step] = {}
    pending = [step]
    while pending:
        each = pending.pop()
        needed[each.id] = each
        pending += [by_id[id_] for id_ in _prerequisites(each) if id_ not in needed]
    applicant = f"{APPLICANT[:24]}{digest(step.id.encode())[:12]}"
    return _replay(needed.values(), applicant, lambda e: f"{e.source}/{e.subject}/{e.sequence}".encode())[-1]


def _prerequisites(step: Step) -> tuple[str, ...]:
    return (*step.needs, step.cause) if step.cause else step.needs


def _replay(steps: Iterable[Step], applicant: str, named: Callable[[Envelope], bytes]) -> list[Envelope]:
    """Return the events of these steps; `previous` is the digest of how the previous event is named."""
    last: dict[tuple[str, str], Envelope] = {}
    positions: dict[str, str] = {}  # source/sequence per step
    events: list[Envelope] = []
    for step in sorted(steps, key=lambda step: step.time):
        subject = step.subject or applicant
        before = last.get((step.source, subject))
        sequence = before.sequence + 1 if before else 1
        positions[step.id] = f"{step.source}/{sequence}"
        events.append(
            Envelope(
                source=step.source,
                subject=subject,
                sequence=sequence,
                time=step.time,
                event=step.event,
                context=step.context,
                actor=step.actor,
                recorded=step.time,
                cause=positions[step.cause] if step.cause else "",
                previous=digest(named(before)) if before else "",
            )
        )
        last[step.source, subject] = events[-1]
    return events
