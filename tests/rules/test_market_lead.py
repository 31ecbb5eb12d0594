"""Rules of market about a lead enterprise: it joins once, and no event contains its name."""

from datetime import UTC, datetime

import pytest

from contracts.commands import EventWithContext, Refused, Tick
from contracts.envelope import Context, Envelope
from contracts.events import LeadEnlisted
from market.domain import lead
from market.domain.lead import Enlist, State

NOW = datetime(2025, 11, 1, tzinfo=UTC)


def test_lead_enterprise_joins_once() -> None:
    events = lead.decide(State(), Enlist(("sale", "training", "sale"), ("JF001",), "IR-20"), NOW)
    enlisted = LeadEnlisted(services=("sale", "training"), fields=("JF001",))
    assert events == [EventWithContext(enlisted, Context(province="IR-20"))]
    envelope = Envelope(
        source="market", subject="lead:1", sequence=1, time=NOW, event=enlisted, context=Context(province="IR-20")
    )
    state = lead.evolve(State(), envelope)
    assert state == State(province="IR-20", services=("sale", "training"), fields=("JF001",), enlisted=NOW)
    assert lead.decide(state, Enlist(("sale",), ("JF002",), "IR-20"), NOW) == []
    assert lead.indexed(state) == {"scope": "IR-20", "province": "IR-20"}
    assert lead.decide(state, Tick(NOW), NOW) == [] and lead.indexed(State()) == {}


@pytest.mark.parametrize(
    ("command", "code", "field"),
    [
        (Enlist((), ("JF001",), "IR-20"), "missing_field", "services"),
        (Enlist(("loans",), ("JF001",), "IR-20"), "code_unknown", "services"),
        (Enlist(("sale",), (), "IR-20"), "missing_field", "fields"),
        (Enlist(("sale",), ("JF999",), "IR-20"), "field_unknown", "fields"),
        (Enlist(("sale",), ("JF001",), "IR-31"), "province_unknown", "province"),
    ],
)
def test_invalid_enlistment_is_refused(command: Enlist, code: str, field: str) -> None:
    with pytest.raises(Refused) as refused:
        lead.decide(State(), command, NOW)
    assert (refused.value.code, refused.value.field) == (code, field)
