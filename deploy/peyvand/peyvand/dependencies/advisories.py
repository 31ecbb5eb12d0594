"""Known vulnerabilities of the locked components: a stored list, compared offline, and its renewal from OSV."""

import re
from collections.abc import Iterable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import msgspec
from packaging.version import InvalidVersion, Version

from base.http_client import HttpClient
from peyvand.dependencies.locked import Component
from peyvand.local_cluster.workspace import ROOT

STORED = ROOT / "deploy" / "advisories.json"
ACCEPTED = ROOT / "deploy" / "accepted-advisories.toml"
OSV = "https://api.osv.dev"
OLD = 60  # days after which `check` asks for a renewal


class Range(msgspec.Struct, frozen=True, omit_defaults=True):
    """Affected versions: from `introduced` to before `fixed`, or up to and including `last`; else without an end."""

    introduced: str = "0"
    fixed: str = ""
    last: str = ""

    def contains(self, version: str) -> bool:
        """Return whether a version is affected."""
        if _ordered(version) < _ordered(self.introduced):
            return False
        if self.fixed:
            return _ordered(version) < _ordered(self.fixed)
        return not self.last or _ordered(version) <= _ordered(self.last)


class Advisory(msgspec.Struct, frozen=True, omit_defaults=True):
    """A vulnerability of a package."""

    id: str
    package: str  # package URL without a version
    affected: tuple[Range, ...] = ()
    versions: tuple[str, ...] = ()  # affected ones if no ranges are known
    severity: str = ""
    aliases: tuple[str, ...] = ()

    def affects(self, component: Component) -> bool:
        """Return whether a component has this vulnerability."""
        version = component.version.removeprefix("v")
        return component.package == self.package and (
            version in self.versions or any(each.contains(version) for each in self.affected)
        )


class Stored(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The stored list. If it is not complete, `sources` states what it was made from."""

    made: date
    complete: bool
    sources: tuple[str, ...]
    advisories: tuple[Advisory, ...]


class Accepted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A vulnerability that is accepted for one version of a package until a day."""

    id: str  # or an alias, or `*` for every one of this version
    component: str  # package URL with its version
    reason: str
    expires: date

    def covers(self, component: Component, advisory: Advisory) -> bool:
        """Return whether this is about a vulnerability of a component."""
        return self.component == component.url and self.id in ("*", advisory.id, *advisory.aliases)


class _AcceptedFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    accepted: tuple[Accepted, ...] = ()


def stored(file: Path = STORED) -> Stored:
    """Read the stored list."""
    return msgspec.json.decode(file.read_bytes(), type=Stored)


def accepted(file: Path = ACCEPTED) -> tuple[Accepted, ...]:
    """Read the accepted vulnerabilities."""
    return msgspec.toml.decode(file.read_bytes(), type=_AcceptedFile).accepted


def errors(components: Iterable[Component], known: Stored, exceptions: Iterable[Accepted], today: date) -> list[str]:
    """Return the vulnerabilities that are not accepted, and the exceptions without use, without reason or expired.

    The gate passes the day of the list for `today`: its result changes with the repository only, not with the calendar.
    """
    found = [(each, advisory) for each in components for advisory in known.advisories if advisory.affects(each)]
    lines = []
    for exception in exceptions:
        covered = [each for each in found if exception.covers(*each)]
        found = [each for each in found if each not in covered]
        if not covered:
            lines.append(f"{exception.component}: no {exception.id} to accept, remove it")
        elif exception.expires <= today:
            lines.append(f"{exception.component}: {exception.id} was accepted until {exception.expires}")
        elif len(exception.reason.split()) < 5:
            lines.append(f"{exception.component}: {exception.id} is accepted without a reason")
    return [*lines, *(f"{each.url} ({each.lock}): {advisory.id}{_fixed(advisory)}" for each, advisory in found)]


def renewed(packages: Iterable[str], today: date, client: HttpClient) -> Stored:
    """Return what OSV knows about these packages. Raise HttpError if it is not reached."""
    found = [advisory for package in sorted(set(packages)) for advisory in _query(client, package)]
    return Stored(today, True, (OSV,), tuple(sorted(found, key=lambda each: (each.package, each.id))))


def write(known: Stored, file: Path = STORED) -> None:
    """Store a list, one advisory a line."""
    encode = msgspec.json.encode
    head = {"made": known.made, "complete": known.complete, "sources": known.sources}
    lines = ",\n    ".join(encode(each).decode() for each in known.advisories)
    text = msgspec.json.format(encode(head), indent=2).decode().removesuffix("\n}")
    file.write_text(f'{text},\n  "advisories": [\n    {lines}\n  ]\n}}\n', encoding="utf-8")


def _query(client: HttpClient, package: str) -> Iterator[Advisory]:
    query: dict[str, Any] = {"package": {"purl": package}}
    while True:
        answer = client.request("POST", "/v1/query", json=query).json()
        for each in answer.get("vulns", ()):
            if not each.get("withdrawn"):
                yield _advisory(each, package)
        if not answer.get("next_page_token"):
            return
        query["page_token"] = answer["next_page_token"]


def _advisory(record: dict[str, Any], package: str) -> Advisory:
    """Return the part of a record of OSV that is about a package."""
    parts = [each for each in record["affected"] if each["package"].get("purl", package).split("?")[0] == package]
    ranges = [each for part in parts for each in part.get("ranges", ()) if each["type"] != "GIT"]
    return Advisory(
        id=record["id"],
        package=package,
        affected=tuple(span for each in ranges for span in _spans(each["events"])),
        versions=() if ranges else tuple(version for part in parts for version in part.get("versions", ())),
        severity=str(record.get("database_specific", {}).get("severity", "")).lower(),
        aliases=tuple(sorted(record.get("aliases", ()))),
    )


def _spans(events: Iterable[dict[str, str]]) -> Iterator[Range]:
    introduced = ""
    for event in events:
        if "introduced" in event:
            introduced = event["introduced"]
        elif "fixed" in event or "last_affected" in event:
            yield Range(introduced or "0", event.get("fixed", ""), event.get("last_affected", ""))
            introduced = ""
    if introduced:
        yield Range(introduced)


def _ordered(version: str) -> Version:
    """Return a version in the order of Python's; of one in another form only the numbers count."""
    try:
        return Version(version)
    except InvalidVersion:
        return Version(".".join(re.findall(r"\d+", version)) or "0")


def _fixed(advisory: Advisory) -> str:
    versions = [each.fixed for each in advisory.affected if each.fixed]
    return f", fixed in {', '.join(versions)}" if versions else ""
