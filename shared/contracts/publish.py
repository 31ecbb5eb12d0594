"""Publishes the contracts: schemas, examples and the AsyncAPI document under `published/`, made from the event classes.

`python -m contracts.publish` writes them, `--check` only says what differs. A schema only grows, an example is never
deleted: where an event has changed, its new example gets the next number beside the old one.
"""

import json
import sys
from functools import cache
from pathlib import Path
from typing import Any

from contracts.envelope import CONTENT_TYPE
from contracts.events import TYPES
from contracts.examples import examples as told
from contracts.schemas import schemas, service_of, shrunk
from contracts.topics import TOPICS, topic_of

PUBLISHED = Path(__file__).parent / "published"


class Shrunk(Exception):
    """A schema would break its promise: what is published may only grow."""


@cache
def examples() -> dict[str, tuple[bytes, ...]]:
    """Every example ever published by type, the oldest first."""
    found: dict[str, tuple[bytes, ...]] = {}
    for file in sorted((PUBLISHED / "examples").glob("*/*.json"), key=lambda file: (file.parent.name, int(file.stem))):
        found[file.parent.name] = (*found.get(file.parent.name, ()), file.read_bytes())
    return found


def example(name: str) -> bytes:
    """The latest published example of a type."""
    return examples()[name][-1]


def generated(published: Path = PUBLISHED) -> dict[Path, str]:
    """The text of every file that is to stand there now. Raises Shrunk."""
    files = {Path("asyncapi.yaml"): _yaml(asyncapi())}
    for name, schema in schemas().items():
        file = Path("schemas") / f"{name}.json"
        if (published / file).exists() and (
            broken := shrunk(json.loads((published / file).read_text(encoding="utf-8")), schema)
        ):
            raise Shrunk(f"{name} is published; say the new thing under v2 ({'; '.join(broken)})")
        files[file] = _json(schema)
    for name, raw in told().items():
        text = _json(json.loads(raw))
        numbers = sorted(int(file.stem) for file in (published / "examples" / name).glob("*.json")) or [0]
        latest = published / "examples" / name / f"{numbers[-1]}.json"
        same = latest.exists() and latest.read_text(encoding="utf-8") == text
        files[Path("examples") / name / f"{numbers[-1] + (not same)}.json"] = text
    return files


def differences(published: Path = PUBLISHED) -> list[str]:
    """What is missing, out of date, or published without being an event of ours."""
    files = generated(published)
    wrong = [
        str(file)
        for file, text in files.items()
        if not (published / file).exists() or (published / file).read_text(encoding="utf-8") != text
    ]
    strangers = {file.stem for file in published.glob("schemas/*.json")} | {
        file.name for file in published.glob("examples/*")
    }
    return sorted([*wrong, *(f"{name}: no event of ours" for name in strangers - set(TYPES))])


def asyncapi() -> dict[str, Any]:
    """The AsyncAPI 3.0 document: a channel per topic, what is said there, who says and who hears it."""
    schema_format = "application/schema+json;version=2020-12"
    messages = {
        name: {
            "name": name,
            "title": event.__name__,
            "summary": (event.__doc__ or "").splitlines()[0],
            "contentType": CONTENT_TYPE,
            "payload": {"schemaFormat": schema_format, "schema": {"$ref": f"./schemas/{name}.json"}},
            "examples": [{"name": name, "payload": json.loads(told()[name])}],
        }
        for name, event in TYPES.items()
    }
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Peyvand",
            "version": "1",
            "description": "What the services of the National Home-Business Plan say to each other: CloudEvents 1.0 in "
            "structured JSON, keyed by subject. Fields that are not known are to be passed over, and codes as well.",
        },
        "defaultContentType": CONTENT_TYPE,
        "channels": {topic.producer: _channel(topic.producer) for topic in TOPICS},
        "operations": {
            **{f"{topic.producer}-says": _operation("send", topic.producer, topic.producer) for topic in TOPICS},
            **{
                f"{hearer}-hears-{topic.producer}": _operation("receive", topic.producer, hearer)
                for topic in TOPICS
                for hearer in topic.consumers
            },
        },
        "components": {"messages": messages},
    }


def _channel(speaker: str) -> dict[str, Any]:
    topic = next(each for each in TOPICS if each.producer == speaker)
    settings = dict(topic.settings)
    said = [name for name, event in TYPES.items() if service_of(event) == speaker]
    return {
        "address": topic_of(speaker),
        "description": f"What {speaker} says, kept for ever; partition = crc32(subject) mod {topic.partitions}.",
        "messages": {name.replace(".", "-"): {"$ref": f"#/components/messages/{name}"} for name in said},
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


def _operation(action: str, speaker: str, who: str) -> dict[str, Any]:
    verb = "says this" if action == "send" else f"hears {speaker}"
    return {"action": action, "channel": {"$ref": f"#/channels/{speaker}"}, "summary": f"{who} {verb}."}


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2) + "\n"


def _yaml(value: Any) -> str:
    import yaml  # of the development environment; nothing that runs needs it

    return str(yaml.safe_dump(value, allow_unicode=True, sort_keys=False, width=120))


def main(arguments: list[str]) -> int:
    """Writes what is to be published, or with `--check` says what differs."""
    if "--check" in arguments:
        wrong = differences()
        print("\n".join(wrong) or "published = generated")
        return 1 if wrong else 0
    for file, text in generated().items():
        (PUBLISHED / file).parent.mkdir(parents=True, exist_ok=True)
        (PUBLISHED / file).write_text(text, encoding="utf-8")
    print(f"{len(TYPES)} events published under {PUBLISHED.name}/")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
