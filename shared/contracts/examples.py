"""One applicant's life, told once by every event there is: what readers are tested on, and what strangers read."""

from collections import Counter
from datetime import UTC, date, datetime, timedelta

import msgspec

from contracts import events as e
from contracts.envelope import Context, Envelope, digest, encode
from contracts.subjects import lead_subject, ledger_subject, round_subject

CURRENT = "1404-1"  # the policies of the story
APPLICANT = "0199d5a2-7c40-7e51-9a3b-4f2d1c0b8a67"
LEAD = "0199d5a2-0b10-7c22-8f4e-6a5d3c2b1f09"
OPENED = datetime(2025, 9, 27, 4, 30, tzinfo=UTC)  # 1404-07-05, 08:00 in Tehran
HERE = Context(round="1404", province="IR-20", county="2002", field="JF001", policy=CURRENT)


class Telling(msgspec.Struct, frozen=True):
    """What happens on a day of the round, who says it, who asked for it, and what it answers."""

    day: int
    source: str
    event: e.Event
    actor: str = ""
    cause: str = ""
    subject: str = APPLICANT
    context: Context = HERE


def life() -> list[Envelope]:
    """The whole story in the order of its days, dense for every service and subject; each type is told exactly once."""
    said: Counter[tuple[str, str]] = Counter()
    told: list[Envelope] = []
    for each in sorted((*_beginnings(), *_registration(), *_screening(), *_market()), key=lambda each: each.day):
        said[each.source, each.subject] += 1
        sequence = said[each.source, each.subject]
        time = OPENED + timedelta(days=each.day, minutes=7 * len(told))
        before = f"{each.source}/{each.subject}/{sequence - 1}"
        told.append(
            Envelope(
                source=each.source,
                subject=each.subject,
                sequence=sequence,
                time=time,
                event=each.event,
                context=each.context,
                actor=each.actor,
                recorded=time,
                cause=each.cause,
                previous=digest(before.encode()) if sequence > 1 else "",  # of its name, so that examples stand alone
            )
        )
    return told


def examples() -> dict[str, bytes]:
    """One example of every type, as it travels."""
    return {envelope.event.TYPE: encode(envelope) for envelope in life()}


def _beginnings() -> list[Telling]:
    ministry, province = "ministry_admin:of-07aa", Context(round="1404", province="IR-20", policy=CURRENT)
    opened = e.RoundOpened(fields=("JF001", "JF004"), opens=OPENED, closes=OPENED + timedelta(days=60))
    window = e.RoundWindowSet(opens=OPENED, closes=OPENED + timedelta(days=30))
    quota = e.QuotaSet(quota=1_300, previous=1_200)
    lead = e.LeadEnlisted(services=("training", "sale"), fields=("JF001",))
    a_round = round_subject("1404")
    return [
        Telling(0, "registration", opened, ministry, "", a_round, Context(round="1404", policy=CURRENT)),
        Telling(0, "registration", window, ministry, "", a_round, province),
        Telling(0, "registration", quota, ministry, "", ledger_subject("1404", "IR-20"), province),
        Telling(0, "market", lead, ministry, "", lead_subject(LEAD), Context(province="IR-20")),
    ]


def _registration() -> list[Telling]:
    registered = e.ApplicantRegistered(sex="female", age_band="25-34", work_mode="independent", intake_channel="desk")
    reactivated = e.ApplicantReactivated(
        application=2, sex="female", age_band="25-34", work_mode="independent", intake_channel="web"
    )
    return [
        Telling(1, "registration", registered, "registrar:of-2f9c"),
        Telling(1, "registration", e.ApplicantIdentityChecked(result="match")),
        Telling(17, "registration", e.ApplicantWaitlisted()),
        Telling(20, "registration", e.ApplicantAdmitted(promoted=True)),
        Telling(170, "registration", e.ApplicantWithdrawn(reason="found_work"), "web:"),
        Telling(170, "registration", e.ApplicantSeatReleased(reason="withdrawn")),
        Telling(180, "registration", reactivated, "web:"),
    ]


def _screening() -> list[Telling]:
    decided = e.CaseDecided(
        outcome="approved",
        reasons=("meets_conditions",),
        rule_version=CURRENT,
        working_hours=96,
        within_sla=False,
    )
    identified = e.CapacityIdentified(
        product_group="handicrafts",
        unit="square_metre",
        monthly_band="1-9",
        skill_level="skilled",
        needs=("training", "packaging"),
    )
    return [
        Telling(1, "screening", e.CaseOpened(due=date(2025, 10, 9)), cause="registration/1"),
        Telling(13, "screening", e.CaseBreached(due=date(2025, 10, 9)), "clock:"),
        Telling(16, "screening", decided, "screener:of-91d3"),
        Telling(20, "screening", e.CapacityRequested(due=date(2025, 11, 9)), cause="registration/4"),
        Telling(44, "screening", e.CapacityBreached(due=date(2025, 11, 9)), "clock:"),
        Telling(46, "screening", identified, "screener:of-91d3"),
    ]


def _market() -> list[Telling]:
    connected = e.ProducerConnected(
        connection="c1", channel="lead_enterprise", counterparty_kind="lead_enterprise", evidence="E1", offer="o1"
    )
    manager = "manager:of-5c1e"
    return [
        Telling(46, "market", e.ProducerReadied(product_group="handicrafts"), cause="screening/6"),
        Telling(48, "market", e.OfferMade(offer="o1", channel="lead_enterprise", lead=LEAD), manager),
        Telling(50, "market", e.OfferAccepted(offer="o1"), manager),
        Telling(52, "market", connected, manager),
        Telling(58, "market", e.ConnectionEvidenced(connection="c1", from_="E1", to="E2"), manager),
        Telling(60, "market", e.OfferDeclined(offer="o2", reason="distance"), manager),
        Telling(148, "market", e.ConnectionSustained(connection="c1"), "clock:"),
        Telling(170, "market", e.ConnectionEnded(connection="c1", reason="withdrawn"), cause="registration/5"),
    ]
