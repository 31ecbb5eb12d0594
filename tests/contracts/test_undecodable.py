"""What decode makes of records that hold no valid event.

DecodeError: no readable source, subject and sequence. InvalidEvent: not as its schema is published. UnknownEvent: a
newer version may know the type, or a code.
"""

import json
from typing import Any

import jsonschema
import pytest

from contracts import envelope as decoding
from contracts.envelope import (
    LAST_SEQUENCE,
    LONGEST_EVENT,
    DecodeError,
    InvalidEvent,
    UnknownEvent,
    decode,
    decode_from,
)
from contracts.events import TYPES
from contracts.examples import examples
from contracts.schemas import schemas
from contracts.subjects import SUBJECTS
from tests.support.undecodable_bytes import INVALID, undecodable_bytes

REGISTERED = "ir.peyvand.registration.applicant.registered.v1"
QUOTA = "ir.peyvand.registration.quota.set.v1"
OPENED = "ir.peyvand.registration.round.opened.v1"
DECIDED = "ir.peyvand.screening.case.decided.v1"
CASE = "ir.peyvand.screening.case.opened.v1"


def changed(name: str, data: dict[str, Any] | None = None, **attributes: Any) -> bytes:
    """Return a published example with other values."""
    example = json.loads(examples()[name])
    return json.dumps({**example, **attributes, "data": {**example["data"], **(data or {})}}).encode()


def whereabouts(raw: bytes) -> str:
    """Return where an event is invalid."""
    event = decode(raw).event
    assert isinstance(event, InvalidEvent), event
    return event.where


def test_random_and_damaged_bytes_are_undecodable() -> None:
    drawn = undecodable_bytes(7)
    for raw in (next(drawn) for _ in range(3_000)):
        with pytest.raises(DecodeError):
            decode(raw)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"sequence": LAST_SEQUENCE + 1}, "out_of_bounds"),
        ({"sequence": 0}, "out_of_bounds"),
        ({"subject": ""}, "out_of_bounds"),
        ({"subject": "x" * 129}, "out_of_bounds"),
        ({"subject": "a\x1b[2J"}, "out_of_bounds"),
        ({"source": "a.b"}, "wrong_source"),
        ({"source": None}, "malformed"),
    ],
)
def test_an_event_without_a_readable_identity_is_undecodable(changes: dict[str, Any], code: str) -> None:
    with pytest.raises(DecodeError) as e:
        decode(changed(REGISTERED, **changes))
    assert e.value.code == code


def test_a_topic_holds_events_of_its_producer_of_a_bounded_length() -> None:
    for topic, raw, code in (
        ("peyvand.screening", changed(REGISTERED), "wrong_topic"),
        ("peyvand.registration", changed(REGISTERED, {"more": "x" * 900_000}), "too_long"),
        ("peyvand.registration", None, "no_value"),
    ):
        with pytest.raises(DecodeError) as e:
            decode_from(topic, raw)
        assert e.value.code == code
    long = changed(REGISTERED, {"more": "x" * (LONGEST_EVENT - 1_000)})
    assert decode_from("peyvand.registration", long).event == decode(changed(REGISTERED)).event


@pytest.mark.parametrize(("changes", "where"), INVALID)
def test_an_attribute_that_does_not_match_its_schema_is_invalid(changes: dict[str, Any], where: str) -> None:
    raw = json.dumps({**json.loads(examples()[REGISTERED]), **changes}).encode()
    assert whereabouts(raw) == where
    e = decode(raw)
    assert (e.subject, e.sequence) == (changes.get("subject", e.subject), 1) and not e.context.round and not e.actor


@pytest.mark.parametrize(
    ("name", "data", "where"),
    [
        (QUOTA, {"quota": -1}, "$.data.quota"),
        (QUOTA, {"quota": 1_000_001}, "$.data.quota"),
        (QUOTA, {"quota": 10**30}, "$.data.quota"),
        (QUOTA, {"quota": 1.5}, "$.data.quota"),
        (QUOTA, {"quota": "7"}, "$.data.quota"),
        (QUOTA, {"quota": True}, "$.data.quota"),
        (QUOTA, {"quota": None}, "$.data.quota"),
        (REGISTERED, {"application": 0}, "$.data.application"),
        (REGISTERED, {"sex": None}, "$.data.sex"),
        (REGISTERED, {"sex": ["female"]}, "$.data.sex"),
        (OPENED, {"opens": "2026-01-01T00:00:00"}, "$.data.opens"),
        (OPENED, {"opens": "0001-01-01T00:00:00Z"}, "$.data.opens"),
        (OPENED, {"closes": "9999-12-31T23:59:59Z"}, "$.data.closes"),
        (OPENED, {"fields": ["JF001\n"]}, "$.data.fields[]"),
        (OPENED, {"fields": ["JF001"] * 1_001}, "$.data.fields"),
        (CASE, {"due": "0001-01-01"}, "$.data.due"),
        (CASE, {"due": "9999-12-31"}, "$.data.due"),
        (CASE, {"due": "2026-02-30"}, "$.data.due"),
        (DECIDED, {"rule_version": "x"}, "$.data.rule_version"),
        (DECIDED, {"within_sla": 1}, "$.data.within_sla"),
    ],
)
def test_data_that_does_not_match_its_schema_is_invalid(name: str, data: dict[str, Any], where: str) -> None:
    assert whereabouts(changed(name, data)) == where


@pytest.mark.parametrize("name", TYPES)
def test_a_type_belongs_to_one_kind_of_subject(name: str) -> None:
    example = json.loads(examples()[name])
    assert TYPES[name].KIND in SUBJECTS
    for other in examples().values():
        if (event := json.loads(other))["type"] != name and TYPES[event["type"]].KIND != TYPES[name].KIND:
            assert whereabouts(json.dumps({**example, "subject": event["subject"]}).encode()) == "$.subject"


@pytest.mark.parametrize(
    ("name", "changes"),
    [(OPENED, {"round": "1403"}), (QUOTA, {"round": "1403"}), (QUOTA, {"province": "IR-07"})],
)
def test_the_context_agrees_with_the_subject(name: str, changes: dict[str, str]) -> None:
    assert whereabouts(changed(name, None, **changes)) == "$.round"


@pytest.mark.parametrize("missing", ["round", "province", "county", "field", "policy", "time", "data", "specversion"])
def test_a_required_attribute_is_required(missing: str) -> None:
    example = json.loads(examples()[REGISTERED])
    del example[missing]
    assert isinstance(decode(json.dumps(example).encode()).event, InvalidEvent)


def test_the_explanation_repeats_no_value() -> None:
    event = decode(changed(REGISTERED, None, specversion="Maryam", codesystem="Maryam")).event
    assert isinstance(event, InvalidEvent) and "Maryam" not in event.why + event.where


def test_the_highest_sequence_is_decoded() -> None:
    assert decode(changed(REGISTERED, None, sequence=LAST_SEQUENCE)).sequence == LAST_SEQUENCE


def test_an_unknown_type_of_its_own_source_is_decoded_as_unknown() -> None:
    newer = "ir.peyvand.registration.applicant.never.v1"
    envelope = decode(changed(REGISTERED, None, type=newer))
    assert envelope.event == UnknownEvent(type=newer)
    assert (envelope.source, envelope.sequence) == ("registration", 1)


@pytest.mark.parametrize(
    ("name", "data"),
    [(REGISTERED, {"sex": "x"}), (DECIDED, {"reasons": ["insured", "newer"]}), (DECIDED, {"outcome": ""})],
)
def test_a_code_that_a_vocabulary_lacks_is_of_a_newer_producer(name: str, data: dict[str, Any]) -> None:
    assert decode(changed(name, data)).event == UnknownEvent(type=name)
    assert isinstance(decode(changed(name, {**data, "application": 0})).event, InvalidEvent), "but not all of it is"
    assert isinstance(decode(changed(name, data, policy="x")).event, InvalidEvent)


def test_an_unknown_job_field_or_county_is_decoded() -> None:
    envelope = decode(changed(REGISTERED, None, county="2099", field="XY999"))
    assert (envelope.context.county, envelope.context.field) == ("2099", "XY999")


def test_what_is_remembered_as_valid_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "KNOWN_LIMIT", 10)
    subject = json.loads(examples()[REGISTERED])["subject"]
    for n in range(100):
        raw = changed(REGISTERED, None, subject=f"{subject[:-2]}{n:02}", county=f"20{n:02}", field=f"JF0{n:02}")
        assert decode(raw).event == decode(examples()[REGISTERED]).event
    remembered = (decoding._subjects["applicant"], decoding._fields, decoding._actors)
    assert all(len(each) <= 10 for each in remembered)
    assert whereabouts(changed(REGISTERED, None, subject="round:1404")) == "$.subject"


def test_whatever_is_decoded_matches_its_schema() -> None:
    """Replace each value of each example by hostile ones, and compare with a validator of JSON Schema."""
    hostile: tuple[Any, ...] = (
        None,
        "",
        0,
        -1,
        10**12,
        1.5,
        True,
        [],
        {},
        "x",
        "1404\n",
        "2026-01-01",
        "2026-01-01T00:00:00",
        "IR-20",
    )
    validators = {name: jsonschema.Draft202012Validator(schema) for name, schema in schemas().items()}
    valid = 0
    for name, raw in examples().items():
        example = json.loads(raw)
        paths = [(each,) for each in example if each not in ("id", "type")] + [
            ("data", each) for each in example["data"]
        ]
        for path in paths:
            for value in hostile:
                event = json.loads(raw)
                (event["data"] if len(path) > 1 else event)[path[-1]] = value
                try:
                    found = decode(json.dumps(event).encode())
                except DecodeError:
                    continue
                if not isinstance(found.event, InvalidEvent | UnknownEvent):
                    valid += 1
                    assert_valid = list(validators[name].iter_errors(event))
                    assert not assert_valid, (name, path, value, assert_valid)
    assert valid > 40
