"""Published contracts equal the generated ones, only grow, and stay readable."""

import json
import os
import re
from copy import deepcopy
from pathlib import Path

import jsonschema
import pytest
import yaml

from contracts import publish, schemas
from contracts.envelope import decode, encode
from contracts.events import PRODUCERS, TYPES
from contracts.examples import examples
from contracts.topics import TOPICS, topics_consumed_by
from tests.house.sources import assert_none
from tests.support.schema_validation import invalid

ADVICE = "run make contracts"
EXAMPLES = [(name, raw) for name, every in publish.examples().items() for raw in every]


def test_committed_files_equal_generated_ones() -> None:
    assert_none(publish.differences(), ADVICE)


def test_a_missing_file_and_a_file_of_no_event_are_noticed(tmp_path: Path) -> None:
    for file, text in publish.generated(tmp_path).items():
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(text, encoding="utf-8")
    assert publish.differences(tmp_path) == []
    name = next(iter(TYPES))
    (tmp_path / "examples" / name / "1.json").unlink()
    (tmp_path / "schemas" / "ir.peyvand.market.offer.forgotten.v1.json").write_text("{}")
    assert publish.differences(tmp_path) == [
        f"examples/{name}/1.json",
        "ir.peyvand.market.offer.forgotten.v1: no event of ours",
    ]


def test_a_changed_event_gets_a_further_example_and_keeps_the_old_one(tmp_path: Path) -> None:
    name = next(iter(TYPES))
    old = tmp_path / "examples" / name / "1.json"
    old.parent.mkdir(parents=True)
    old.write_text("{}")
    assert Path("examples") / name / "2.json" in publish.generated(tmp_path)


def test_an_event_that_the_story_does_not_emit_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    by_type = examples()
    name = next(iter(by_type))
    monkeypatch.setattr(publish, "current_examples", lambda: {each: by_type[each] for each in by_type if each != name})
    with pytest.raises(publish.NoExample, match=f"emits {re.escape(name)}: add one, then run make contracts"):
        publish.generated(tmp_path)


def test_an_incompatible_schema_is_not_published(tmp_path: Path) -> None:
    name, schema = next(iter(schemas.schemas().items()))
    published = deepcopy(schema)
    published["properties"]["data"]["properties"]["more"] = {"type": "string"}
    (tmp_path / "schemas").mkdir()
    (tmp_path / "schemas" / f"{name}.json").write_text(json.dumps(published))
    with pytest.raises(publish.IncompatibleSchema, match="more: is gone"):
        publish.generated(tmp_path)


@pytest.mark.parametrize("name", TYPES)
def test_committed_schemas_are_compatible(name: str) -> None:
    file = publish.PUBLISHED / "schemas" / f"{name}.json"
    assert file.exists(), f"{name} is not published: {ADVICE}"
    committed = json.loads(file.read_text(encoding="utf-8"))
    assert_none(
        schemas.incompatibilities(committed, schemas.schemas()[name]), "publish the change as a new version of the type"
    )


_PUBLISHED = {"type": "object", "required": ["a"], "properties": {"a": {"type": "string", "enum": ["x", "y"]}}}


def test_optional_fields_and_codes_may_be_added() -> None:
    current = deepcopy(_PUBLISHED)
    current["properties"]["b"] = {"type": "integer", "default": 0}  # type: ignore[index]
    current["properties"]["a"]["enum"] = ["x", "y", "z"]  # type: ignore[index]
    assert schemas.incompatibilities(_PUBLISHED, current) == []


@pytest.mark.parametrize(
    ("current", "why"),
    [
        ({"type": "object", "required": ["a"], "properties": {}}, ".a: is gone"),
        ({**_PUBLISHED, "required": []}, ".a: is no longer sent"),
        ({**_PUBLISHED, "required": ["a", "b"]}, ".b: became required"),
        ({**_PUBLISHED, "properties": {"a": {"type": "integer", "enum": ["x", "y"]}}}, "type was"),
        ({**_PUBLISHED, "properties": {"a": {"type": "string", "enum": ["x"]}}}, "y is no longer a code"),
        (
            {**_PUBLISHED, "properties": {"a": {"type": "string", "enum": ["x", "y"], "pattern": "x"}}},
            "pattern was None",
        ),
        ({**_PUBLISHED, "properties": {"a": {"type": "string"}}}, "x is no longer a code"),
    ],
)
def test_an_incompatible_change_is_noticed(current: schemas.Schema, why: str) -> None:
    assert any(why in each for each in schemas.incompatibilities(_PUBLISHED, current))


@pytest.mark.parametrize(("name", "raw"), EXAMPLES)
def test_every_example_ever_published_is_readable_and_loses_nothing(name: str, raw: bytes) -> None:
    envelope = decode(raw)
    assert name == envelope.event.TYPE
    published, encoded = json.loads(raw), json.loads(encode(envelope))
    assert published | encoded == encoded
    assert published["data"] == encoded["data"]


@pytest.mark.parametrize(("name", "raw"), EXAMPLES)
def test_every_example_is_valid(name: str, raw: bytes) -> None:
    jsonschema.Draft202012Validator(
        schemas.schemas()[name], format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER
    ).validate(json.loads(raw))


@pytest.mark.parametrize("name", TYPES)
def test_every_schema_is_a_valid_json_schema(name: str) -> None:
    schema = schemas.schemas()[name]
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["description"] and schema["title"]


def test_an_invalid_event_is_noticed() -> None:
    event = json.loads(publish.example("ir.peyvand.registration.applicant.registered.v1"))
    for wrong in ({"province": "IR-31"}, {"sequence": 0}, {"actor": "registrar:9990000018"}, {"subject": "9990000018"}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(event | wrong, schemas.schemas()[event["type"]])


def test_unknown_fields_are_ignored() -> None:
    event = json.loads(publish.example("ir.peyvand.screening.case.decided.v1"))
    event["data"]["mood"] = "good"
    event["weather"] = {"sky": "blue"}
    assert decode(json.dumps(event).encode()) == decode(publish.example("ir.peyvand.screening.case.decided.v1"))


def test_the_asyncapi_document_is_consistent() -> None:
    document = yaml.safe_load((publish.PUBLISHED / "asyncapi.yaml").read_text(encoding="utf-8"))
    assert document["asyncapi"] == "3.0.0"
    assert set(document["components"]["messages"]) == set(TYPES)
    assert {each["address"] for each in document["channels"].values()} == {topic.name for topic in TOPICS}
    refs = [ref["$ref"] for channel in document["channels"].values() for ref in channel["messages"].values()]
    assert sorted(refs) == sorted(f"#/components/messages/{name}" for name in TYPES)
    for message in document["components"]["messages"].values():
        assert (publish.PUBLISHED / message["payload"]["schema"]["$ref"]).exists()
    operations = {(name, each["action"]) for name, each in document["operations"].items()}
    services = ("registration", "screening", "market", "reporting")
    assert operations == {(f"{producer}-emits", "send") for producer in PRODUCERS} | {
        (f"{consumer}-consumes-{topic.removeprefix('peyvand.')}", "receive")
        for consumer in services
        for topic in topics_consumed_by(consumer)
    }
    for operation in document["operations"].values():
        assert operation["channel"]["$ref"].removeprefix("#/channels/") in document["channels"]


@pytest.mark.server
def test_the_asyncapi_document_is_valid_by_the_schema_of_asyncapi() -> None:
    home = Path(os.environ.get("PEYVAND_HOME", Path(__file__).parents[2] / ".peyvand"))
    schema = home / "assets" / "node_modules" / "@asyncapi" / "specs" / "schemas" / "3.0.0.json"
    if not schema.exists():
        pytest.skip("not run: the page assets, which hold AsyncAPI's schema, are not installed (make setup)")
    document = yaml.safe_load((publish.PUBLISHED / "asyncapi.yaml").read_text(encoding="utf-8"))
    validator = jsonschema.Draft7Validator(json.loads(schema.read_text(encoding="utf-8")))
    assert [error.message for error in validator.iter_errors(document)] == []
    document["channels"] = []  # an invalid document is noticed
    assert [*validator.iter_errors(document)]


def test_violations_of_a_schema_are_listed_with_the_id_of_the_event() -> None:
    raw = publish.example("ir.peyvand.screening.case.decided.v1")
    event = json.loads(raw)
    event["data"]["outcome"] = "زهرا محمدی"
    violations = invalid([raw, json.dumps(event).encode()])
    assert len(violations) == 1 and violations[0].startswith(f"{event['id']}: $.data.outcome")
