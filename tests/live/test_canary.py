"""No personal data where it must not be: a canary person goes through every request, and every sink is searched.

The sinks are the error responses, the logs of all processes, their metrics, a Prometheus that scrapes them with its
files, the files of Kafka, and every database. A leak that is planted into each of them is found.
"""

import asyncio
import json
import re
import shutil
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import bson
import httpx
import pytest
from kafka import KafkaAdminClient, KafkaProducer
from kafka.admin import NewTopic
from pymongo import MongoClient

from peyvand.api_client import sign_in
from peyvand.local_cluster.processes import wait_until
from peyvand.local_cluster.topology import SERVICES, as_user
from peyvand.local_cluster.workspace import development_secrets
from peyvand.simulation.scenario import CONSENT
from security.auth import COOKIE
from tests.support.generated_requests import Operation, Value
from tests.support.malformed_requests import answer, malformed_requests
from tests.support.personal_words import forms, leaks
from tests.support.prometheus import prometheus_for
from tests.support.registration_api import a_national_id
from tests.support.settling import settles
from tests.support.system import RunningSystem, open_round, started

pytestmark = pytest.mark.server

ROUND, SEMNAN = "1404", "IR-20"
PATH = f"/registration/v1/rounds/{ROUND}/applications"
ID, MOBILE, NAME = a_national_id(424_242), "09004242424", "قناریان"
SENT = a_national_id(434_343)  # in every field of every operation, where it is no national ID
PLANTED = a_national_id(444_444)
STREAM = "text/event-stream"
ROLES = ("manager", "ministry_admin", "operator", "screener")
PERSON: dict[str, Any] = {
    "national_id": ID,
    "birth_date": "1368-04-14",
    "first_name": "مریم",
    "last_name": NAME,
    "sex": "female",
    "mobile": MOBILE,
    "province": SEMNAN,
    "county": "2003",
    "field": "JF001",
    "work_mode": "independent",
    "consent": {"version": CONSENT, "given": True},
}
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSystem]:
    """Start a platform with an open round."""
    with started(tmp_path_factory.mktemp("canary")) as system:
        now = datetime.now(UTC)
        open_round(system.url, ROUND, now - timedelta(days=1), now + timedelta(days=30))
        yield system


class Errors:
    """Sends requests and keeps what came back with each refusal."""

    def __init__(self, client: httpx.Client) -> None:
        self.client = client
        self.bodies: dict[str, bytes] = {}
        self.statuses = Counter[int]()

    def send(self, method: str, url: str, **options: Any) -> httpx.Response:
        """Send one request; keep headers and body of a refusal, but for a page that repeats its own form."""
        response = self.client.request(method, url, **options)
        self.statuses[response.status_code] += 1
        own_form = response.status_code == 422 or "/tracking/" in response.url.path
        own_form = own_form and response.headers["content-type"].startswith("text/html")
        if response.status_code >= 400 and not own_form:
            headers = b"\n".join(b"%s: %s" % each for each in response.headers.raw)
            self.bodies[f"{response.status_code} {method} {response.url.path}"] = headers + b"\n" + response.content
        return response


def send_person(system: RunningSystem, errors: Errors, token: str) -> None:
    """Register the canary, then send it again and wrongly in all the ways in which a person may be refused."""
    bearer = {"Authorization": f"Bearer {token}", **JSON}
    registered = errors.send(
        "POST", system.url + PATH, json=PERSON, headers={**bearer, "Idempotency-Key": f"key-of-{ID}"}
    )
    assert registered.status_code == 201, registered.text
    changes: tuple[Mapping[str, Any], ...] = (
        *({}, {"province": "IR-23", "county": "2301"}, {"national_id": f"x{ID}x"}, {"mobile": f"{MOBILE}{ID}"}),
        *({"first_name": ID}, {"last_name": f"{NAME}{ID}"}, {"birth_date": ID}, {"consent": NAME}, {f"f{ID}": MOBILE}),
        *({"county": NAME}, {"field": MOBILE}, {"work_mode": ID}, {"sex": [NAME]}),
    )
    for change in changes:
        errors.send("POST", system.url + PATH, json={**PERSON, **change}, headers=bearer)
        errors.send("POST", system.url + PATH, content=json.dumps({**PERSON, **change})[:-1], headers=bearer)
    for authorization in (f"Bearer {ID}", f"Bearer {token[:-4]}", f"Basic {NAME.encode().hex()}", ""):
        errors.send("POST", system.url + PATH, json=PERSON, headers={"Authorization": authorization})
    csv = f"national_id,last_name\n{ID},{NAME}\n"
    bearer["Content-Type"] = "text/csv"
    errors.send("POST", f"{system.url}{PATH}/import", content=csv.encode(), headers=bearer)
    for path in (ID, f"a{ID}", NAME, f"v1/{ID}", f"registration/{ID}", f"registration/tracking/{ID}", f"market/{NAME}"):
        for method in ("GET", "POST", "DELETE", "PROPFIND"):
            for headers in ({"Accept": "text/html"}, {"X-Request-ID": f"id-{ID}", "Cookie": f"{COOKIE}={ID}"}, bearer):
                errors.send(method, f"{system.url}/{path}?{urlencode({'q': ID, 'name': NAME})}", headers=headers)
    for name, value in (("national_id", ID), ("mobile", MOBILE), ("last_name", NAME), ("another", ID)):
        for slug in ("national-id", "name", "mobile", "check", ID):
            form = {"data": {name: value}, "headers": {"Sec-Fetch-Site": "same-origin"}}
            errors.send("POST", f"{system.url}/registration/apply/{slug}", **form)


def send_everywhere(system: RunningSystem, errors: Errors) -> None:
    """Send a word in every field of every operation, to the gateway and to the service itself."""
    for service in SERVICES:
        prefix = "" if service == "reporting" else f"/{service}"
        schema = errors.send("GET", f"{system.url}{prefix}/openapi.json").json()
        direct = f"http://127.0.0.1:{system.state.ports[f'{service}-api']}"
        for path, methods in schema["paths"].items():
            for method, declared in methods.items():
                if STREAM in str(declared["responses"].get("200", "")):
                    continue
                headers = {}
                if role := next((each for each in ROLES if each in declared.get("x-peyvand-roles", ())), ""):
                    province = "" if role in ("ministry_admin", "operator") else SEMNAN
                    headers["Authorization"] = f"Bearer {sign_in(system.url, role, province=province)}"
                operation = Operation(method.upper(), path, declared, schema["components"]["schemas"])
                for base, value in ((system.url, f"x{SENT}x"), (direct, SENT)):
                    for _, sent in operation.requests(Value.of(value)):
                        options = {"headers": {**headers, **sent.get("headers", {})}, "content": sent.get("content")}
                        errors.send(operation.method, base + sent["url"], **options)


async def send_malformed(system: RunningSystem, token: str) -> dict[str, bytes]:
    """Send malformed requests to every port; return the answers."""
    answers = {}
    for word in (token, ID):
        for name, port in system.state.ports.items():
            if name in ("gateway", "operations") or name.rpartition("-")[0] in SERVICES:
                for what, request in malformed_requests(word.encode()):
                    answers[f"{name}: {what}"] = await answer("127.0.0.1", port, request)
    return answers


def metrics(system: RunningSystem) -> dict[str, bytes]:
    """Return the metrics of every process."""
    ports = {name: port for name, port in system.state.ports.items() if name.rpartition("-")[0] in SERVICES}
    return {
        f"metrics of {name}": httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=60).content
        for name, port in ports.items()
    }


def files(what: str, folder: Path, pattern: str = "*") -> dict[str, bytes]:
    """Return the content of all files below a folder whose names match."""
    return {f"{what} {each.relative_to(folder)}": each.read_bytes() for each in folder.rglob(pattern) if each.is_file()}


@contextmanager
def stores(system: RunningSystem) -> Iterator[MongoClient[dict[str, Any]]]:
    """Connect to MongoDB with the administrator."""
    secrets = development_secrets(system.workspace, SERVICES)
    with MongoClient[dict[str, Any]](as_user(system.state.mongo, "admin", secrets.mongo_admin)) as client:
        yield client


def databases(system: RunningSystem) -> dict[str, bytes]:
    """Return every document of every database but MongoDB's own log of writes."""
    with stores(system) as client:
        return {
            f"collection {database}.{name}": b"".join(map(bson.encode, client[database][name].find()))
            for database in client.list_database_names()
            if database != "local"
            for name in client[database].list_collection_names()
            if not name.startswith("system.")
        }


def sinks(system: RunningSystem) -> dict[str, bytes]:
    """Return everything that processes have written, but for responses and Prometheus."""
    logs = {**files("log", system.workspace.logs), "output of the supervisor": system.output.encode()}
    segments = files("Kafka", system.workspace.data / "kafka", "*.log")  # its indexes are large, and have no events
    return {**logs, **metrics(system), **segments, **databases(system)}


@pytest.fixture(scope="module")
def answered(system: RunningSystem) -> dict[str, bytes]:
    """Send everything; return what was answered with each refusal."""
    token = sign_in(system.url, "registrar", province=SEMNAN, sub="canary")
    with httpx.Client(timeout=60) as client:
        errors = Errors(client)
        send_person(system, errors, token)
        send_everywhere(system, errors)
    malformed = asyncio.run(send_malformed(system, token))
    assert errors.statuses.keys() >= {201, 400, 401, 403, 404, 405, 409, 422}, errors.statuses
    assert not [status for status in errors.statuses if status >= 500], [e for e in errors.bodies if e[0] == "5"]
    # a signature is what only this token has: the beginning of all tokens is the same
    return {"signature": token.rpartition(".")[2].encode(), **errors.bodies, **malformed}


def test_no_refusal_repeats_what_was_sent(answered: dict[str, bytes]) -> None:
    answers = {name: body for name, body in answered.items() if name != "signature"}
    assert leaks([ID, MOBILE, NAME, SENT, answered["signature"].decode()], answers) == []
    assert leaks([PLANTED], {**answers, "one": b'{"detail": "x' + PLANTED.encode() + b'x"}'})


def test_no_response_names_a_version(answered: dict[str, bytes]) -> None:
    servers = {
        line.lower()
        for body in answered.values()
        for line in body.partition(b"\r\n\r\n")[0].splitlines()
        if line.lower().startswith(b"server:")
    }
    assert servers == {b"server: peyvand"}


def test_nothing_that_is_written_holds_personal_data(system: RunningSystem, answered: dict[str, bytes]) -> None:
    subject = b""
    with MongoClient[dict[str, Any]](system.state.mongo) as client:
        record = client.registration.records.find_one({"kind": "applicant", "private": {"$exists": True}})
        assert record is not None
        subject = str(record["_id"]).encode()
    settles(lambda: any(subject in each for name, each in sinks(system).items() if "Kafka" in name), True, 90)
    found = sinks(system)
    (figures,) = (each for each in found if re.fullmatch(r"collection reporting_[0-9a-f]+\.records", each))
    assert subject in found["collection registration.records"] and subject in found[figures]
    assert any(name.startswith("log ") and content for name, content in found.items())
    assert leaks([ID, MOBILE, NAME, answered["signature"].decode()], found) == []
    observed = {name: each for name, each in found.items() if name.startswith(("log", "metrics", "output"))}
    assert leaks([SENT], observed) == []


def test_prometheus_holds_no_personal_data(system: RunningSystem, answered: dict[str, bytes], tmp_path: Path) -> None:
    if shutil.which("prometheus") is None:
        pytest.skip("not run: there is no prometheus on this machine")
    with scraped_leak() as port, prometheus_for(tmp_path, system, leak=port) as prometheus:

        def series() -> bytes:
            return httpx.get(
                f"{prometheus.url}/api/v1/series", params={"match[]": '{__name__=~".+"}'}, timeout=60
            ).content

        assert wait_until(lambda: b"peyvand_http_request" in series() and PLANTED.encode() in series(), 90)
        held = {"series": series(), **files("Prometheus", tmp_path / "tsdb")}
    assert leaks([ID, MOBILE, NAME, SENT, answered["signature"].decode()], held) == []
    planted = leaks([PLANTED], held)
    assert any("series" in each for each in planted) and any("Prometheus" in each for each in planted)


def test_a_planted_leak_is_found_in_each_sink(system: RunningSystem, answered: dict[str, bytes]) -> None:
    """In each form; afterwards it is removed."""
    log, topic = system.workspace.logs / "planted.log", "planted"
    admin = KafkaAdminClient(**system.kafka_admin.options())
    try:
        log.write_bytes(b"\n".join(forms(PLANTED).values()))
        admin.create_topics([NewTopic(topic, 1, 1)])
        producer: Any = KafkaProducer(**system.kafka_admin.options())
        producer.send(topic, value=f"x{PLANTED}x".encode())
        producer.flush(30)
        producer.close()
        with stores(system) as client:
            client.planted.leak.insert_one({"reason": f"x{PLANTED}x"})
        found = leaks([PLANTED], sinks(system))
    finally:
        log.unlink()
        admin.delete_topics([topic])
        admin.close()
        with stores(system) as client:
            client.drop_database("planted")
    assert all(
        any(sink in each for each in found) for sink in ("log planted", "Kafka planted-0", "collection planted.leak")
    )
    assert len([each for each in found if "log planted" in each]) == len(forms(PLANTED))


@contextmanager
def scraped_leak() -> Iterator[int]:
    """Serve a metric with a leak in a label; return the port."""

    class Leaks(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(f'peyvand_planted{{route="/x{PLANTED}x"}} 1\n'.encode())

        def log_message(self, format: str, *args: Any) -> None:
            """Log nothing."""

    server = HTTPServer(("127.0.0.1", 0), Leaks)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
