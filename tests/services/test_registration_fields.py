"""Form, JSON schema and identity follow from the declared fields of an application."""

from collections import Counter

from contracts.events import Event, registration
from registration.domain.application import FIELD, FIELDS, PROFILE
from registration.pages.steps import STEPS
from registration.schemas import Application, ApplicationRequest, Identity
from tests.support.registration_api import EXAMPLE


def test_the_form_asks_for_every_field_once() -> None:
    asked = [field.name for step in STEPS for field in step.fields]
    assert asked == [field.name for field in FIELDS if field.step]
    assert set(FIELD) - set(asked) == {"consent"}, "asked for on the review page"


def test_every_step_has_texts_in_both_languages() -> None:
    for step in STEPS:
        for text in (step.texts.question, step.texts.why, step.label):
            assert text.fa and text.en, step.slug
        assert bool(step.texts.hint.fa) == bool(step.texts.hint.en), step.slug


def test_the_request_has_every_field() -> None:
    assert set(ApplicationRequest.model_fields) == {*FIELD, "channel"}
    body = EXAMPLE | {"consent": {"version": EXAMPLE["consent"], "given": True}}
    assert ApplicationRequest.model_validate(body).answers() == EXAMPLE
    refused = ApplicationRequest.model_validate(body | {"consent": {"version": "1404-1", "given": False}})
    assert refused.answers()["consent"] == ""


def test_the_response_separates_identity_and_profile() -> None:
    identity = {field.name for field in FIELDS if field.identity}
    assert set(Identity.model_fields) == {*identity, "birth_date_jalali"}
    assert set(PROFILE) <= set(Application.model_fields) and not identity & set(Application.model_fields)


def test_the_events_declare_every_field_once() -> None:
    events = {each for each in vars(registration).values() if isinstance(each, type) and issubclass(each, Event)}
    declared = Counter(name for each in events for name in each.__annotations__)
    assert {name: declared[name] for name in PROFILE} == dict.fromkeys(PROFILE, 1)
