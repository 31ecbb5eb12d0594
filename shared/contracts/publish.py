"""Publish the contracts: generate schemas, examples and the AsyncAPI document into `published/` from the event classes.

`python -m contracts.publish` writes them; `--check` only lists the differences. A schema only grows, and an example is
never deleted: where an event has changed, its new example gets the next number beside the old one.
"""

import json
import sys
from functools import cache
from pathlib import Path
from typing import Any

from contracts.envelope import CONTENT_TYPE
from contracts.events import TYPES
from contracts.examples import examples as current_examples
from contracts.schemas import incompatibilities, producer_of, schemas
from contracts.topics import TOPICS, Topic

PUBLISHED = Path(__file__).parent / "published"


class IncompatibleSchema(Exception):
    """A schema would break readers or writers of the one that is published under the same type."""


class NoExample(Exception):
    """The example story has no step that emits an event type."""


@cache
def examples() -> dict[str, tuple[bytes, ...]]:
    """Return every example ever published by type, the oldest first."""
    by_type: dict[str, tuple[bytes, ...]] = {}
    files = (PUBLISHED / "examples").glob("*/*.json")
    for file in sorted(files, key=lambda file: (file.parent.name, int(file.stem))):
        by_type[file.parent.name] = (*by_type.get(file.parent.name, ()), file.read_bytes())
    return by_type


def example(name: str) -> bytes:
    """Return the latest published example of a type."""
    return examples()[name][-1]


def generated(published: Path = PUBLISHED) -> dict[Path, str]:
    """Return the text of every file to be published, by path within `published`.

    Raise NoExample or IncompatibleSchema.
    """
    files = {Path("asyncapi.yaml"): _yaml(asyncapi())}
    for name, schema in schemas().items():
        file = Path("schemas") / f"{name}.json"
        _check_compatible(published / file, name, schema)
        files[file] = _json(schema)
    for name, raw in current_examples().items():
        text = _json(json.loads(raw))
        files[_example_file(published, name, text)] = text
    return files


def differences(published: Path = PUBLISHED) -> list[str]:
    """List the files that are missing or out of date, and what is published without being an event type."""
    outdated = [
        str(file)
        for file, text in generated(published).items()
        if not (published / file).exists() or (published / file).read_text(encoding="utf-8") != text
    ]
    names = {file.stem for file in published.glob("schemas/*.json")}
    names |= {file.name for file in published.glob("examples/*")}
    return sorted([*outdated, *(f"{name}: no event of ours" for name in names - set(TYPES))])


def asyncapi() -> dict[str, Any]:
    """Return the AsyncAPI 3.0 document: one channel per topic, its messages, its producer and its consumers."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Peyvand",
            "version": "1",
            "description": "Events of the services of the National Home-Business Plan: CloudEvents 1.0 in structured "
            "JSON, keyed by subject, without personal data. Consumers must ignore unknown attributes and fields and "
            "accept unknown codes: schemas grow by optional fields and by codes, and in no other way.",
        },
        "defaultContentType": CONTENT_TYPE,
        "channels": {topic.producer: _channel(topic) for topic in TOPICS},
        "operations": {
            **{
                f"{topic.producer}-emits": _operation("send", topic, f"{topic.producer} publishes its events.")
                for topic in TOPICS
            },
            **{
                f"{consumer}-consumes-{topic.producer}": _operation(
                    "receive", topic, f"{consumer} consumes the events of {topic.producer}."
                )
                for topic in TOPICS
                for consumer in topic.consumers
            },
        },
        "components": {"messages": _messages()},
    }


def _check_compatible(file: Path, name: str, schema: dict[str, Any]) -> None:
    if not file.exists():
        return
    found = incompatibilities(json.loads(file.read_text(encoding="utf-8")), schema)
    if found:
        raise IncompatibleSchema(f"{name} is published; publish the change as a new version, v2 ({'; '.join(found)})")


def _example_file(published: Path, name: str, text: str) -> Path:
    """Return the file of the latest example if it has this text, otherwise that of the next number."""
    latest = max((int(file.stem) for file in (published / "examples" / name).glob("*.json")), default=0)
    file = published / "examples" / name / f"{latest}.json"
    unchanged = file.exists() and file.read_text(encoding="utf-8") == text
    return Path("examples") / name / f"{latest if unchanged else latest + 1}.json"


def _messages() -> dict[str, Any]:
    schema_format, by_type = "application/schema+json;version=2020-12", current_examples()
    if without := ", ".join(sorted(TYPES.keys() - by_type.keys())):
        raise NoExample(
            f"no step of the story in shared/contracts/examples.py emits {without}: add one, then run make contracts"
        )
    return {
        name: {
            "name": name,
            "title": event.__name__,
            "summary": (event.__doc__ or "").splitlines()[0],
            "contentType": CONTENT_TYPE,
            "payload": {"schemaFormat": schema_format, "schema": {"$ref": f"./schemas/{name}.json"}},
            "examples": [{"name": name, "payload": json.loads(by_type[name])}],
        }
        for name, event in TYPES.items()
    }


def _channel(topic: Topic) -> dict[str, Any]:
    settings = dict(topic.settings)
    emitted = [name for name, event in TYPES.items() if producer_of(event) == topic.producer]
    return {
        "address": topic.name,
        "description": f"Events of {topic.producer}, retained without limit; "
        f"partition = crc32(subject) mod {topic.partitions}.",
        "messages": {name.replace(".", "-"): {"$ref": f"#/components/messages/{name}"} for name in emitted},
        "bindings": {
            "kafka": {
                "topic": topic.name,
                "partitions": topic.partitions,
                "topicConfiguration": {
                    "cleanup.policy": [settings["cleanup.policy"]],
                    "retention.ms": int(settings["retention.ms"]),
                    "retention.bytes": int(settings["retention.bytes"]),
                },
                "bindingVersion": "0.5.0",
            }
        },
    }


def _operation(action: str, topic: Topic, summary: str) -> dict[str, Any]:
    return {"action": action, "channel": {"$ref": f"#/channels/{topic.producer}"}, "summary": summary}


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2) + "\n"


def _yaml(value: Any) -> str:
    import yaml  # extra `publish`; nothing else in this package needs it

    return str(yaml.safe_dump(value, allow_unicode=True, sort_keys=False, width=120))


def main(arguments: list[str]) -> int:
    """Write the published files, or with `--check` print what differs. Return the exit code."""
    if "--check" in arguments:
        found = differences()
        print("\n".join(found) or "The published contracts are up to date.")
        return 1 if found else 0
    for file, text in generated().items():
        (PUBLISHED / file).parent.mkdir(parents=True, exist_ok=True)
        (PUBLISHED / file).write_text(text, encoding="utf-8")
    print(f"Published {len(TYPES)} event types under {PUBLISHED}.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
