"""Bad input over HTTP and on topics: clear errors by field, and no effect on other applicants."""

import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey
from pymongo import MongoClient

from contracts.examples import examples
from contracts.subjects import PARTITIONS, partition_of
from contracts.topics import TOPICS, topics_consumed_by
from kernel.kafka.relay import connect_producer
from peyvand.api_client import ApiClient, sign_in
from peyvand.databases import database_of
from peyvand.local_cluster.topology import SERVICES
from peyvand.simulation.scenario import CONSENT
from security.auth import COOKIE
from tests.support.registration_api import a_national_id
from tests.support.settling import settles
from tests.support.system import RunningSystem, open_round, started
from tests.support.undecodable_bytes import undecodable_bytes

pytestmark = pytest.mark.server

ROUND, SEMNAN, TEHRAN = "1404", "IR-20", "IR-23"
PATH = f"/registration/v1/rounds/{ROUND}/applications"
UNDECODABLE = 1_000  # records on each topic
TIMEOUT = 90.0  # seconds
PERSON: dict[str, Any] = {
    "national_id": a_national_id(1),
    "birth_date": "1368-04-14",
    "first_name": "مریم",
    "last_name": "آزمون",
    "sex": "female",
    "mobile": "09120000018",
    "province": SEMNAN,
    "county": "2003",
    "field": "JF001",
    "work_mode": "independent",
    "consent": {"version": CONSENT, "given": True},
}
VALID = json.dumps(PERSON).encode()
TOMORROW = str(date.today() + timedelta(days=2))


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSystem]:
    """Start a platform with an open round."""
    with started(tmp_path_factory.mktemp("bad")) as system:
        now = datetime.now(UTC)
        open_round(system.url, ROUND, now - timedelta(days=1), now + timedelta(days=30))
        yield system


@pytest.fixture
def registrar(system: RunningSystem) -> dict[str, str]:
    """Return the header of an officer of Semnan, whose token ends after five minutes: sooner than all these tests."""
    return {"Authorization": f"Bearer {sign_in(system.url, 'registrar', province=SEMNAN)}"}


def with_(**values: Any) -> bytes:
    """Return the application with other values."""
    return json.dumps({**PERSON, **values}).encode()


def without(name: str) -> bytes:
    """Return the application without a field."""
    return json.dumps({n: value for n, value in PERSON.items() if n != name}).encode()


BODIES: dict[str, tuple[bytes, int, str, dict[str, str]]] = {
    # description: body, status, code, and the code of each field in the problem
    "an unknown field": (with_(favourite=1), 422, "value_invalid", {"favourite": "unknown_field"}),
    "a missing field": (without("mobile"), 422, "value_invalid", {"mobile": "missing_field"}),
    "a number for a text": (with_(mobile=912), 422, "value_invalid", {"mobile": "wrong_type"}),
    "a list for a text": (with_(first_name=["a"]), 422, "value_invalid", {"first_name": "wrong_type"}),
    "null for a text": (with_(last_name=None), 422, "value_invalid", {"last_name": "wrong_type"}),
    "a list of applications": (json.dumps([PERSON]).encode(), 422, "value_invalid", {"": "body_expected"}),
    "nothing": (b"", 422, "value_invalid", {"": "body_expected"}),
    "one megabyte": (with_(first_name="م" * (1 << 20)), 413, "too_large", {}),
    "forty megabytes": (b" " * (40 << 20), 413, "too_large", {}),
    "NaN": (VALID.replace(b'"female"', b"NaN"), 422, "value_invalid", {"sex": "wrong_type"}),
    "-Infinity": (VALID.replace(b"true", b"-Infinity"), 422, "value_invalid", {"consent.given": "wrong_type"}),
    "half an application": (VALID[:-9], 400, "json_invalid", {}),
    "bytes that are no UTF-8": (VALID.replace(b'"female"', b'"\xff\xfe"'), 400, "malformed", {}),
    "half a surrogate": (VALID.replace(b'"female"', b'"\\ud800"'), 422, "value_invalid", {"sex": "wrong_type"}),
    "a depth of 20,000": (b"[" * 20_000, 400, "malformed", {}),
    "a number of 5,000 digits": (VALID.replace(b'"female"', b"9" * 5_000), 400, "malformed", {}),
    "a control character": (with_(first_name="a\0b"), 422, "value_invalid", {"first_name": "name_invalid"}),
    "a name too long": (with_(last_name="م" * 500), 422, "value_invalid", {"last_name": "too_long"}),
    "province and county swapped": (
        with_(province="2003", county=SEMNAN),
        422,
        "value_invalid",
        {"province": "province_unknown", "county": "county_unknown"},
    ),
    "a county of elsewhere": (with_(county="2301"), 422, "value_invalid", {"county": "county_not_in_province"}),
    "another province": (with_(province=TEHRAN, county="2301"), 403, "scope_other", {"province": "scope_other"}),
    "a birth in the future": (
        with_(birth_date="1480-01-01"),
        422,
        "value_invalid",
        {"birth_date": "birth_date_future"},
    ),
    "a birth in two days": (with_(birth_date=TOMORROW), 422, "value_invalid", {"birth_date": "birth_date_future"}),
    "a day that never was": (with_(birth_date="1368-12-30"), 422, "value_invalid", {"birth_date": "date_invalid"}),
    "a child": (with_(birth_date="1400-01-01"), 422, "value_invalid", {"birth_date": "underage"}),
    "a wrong digit": (
        with_(national_id="9990000019"),
        422,
        "value_invalid",
        {"national_id": "national_id_check_digit"},
    ),
    "an unknown job field": (with_(field="JF999"), 422, "value_invalid", {"field": "field_unknown"}),
    "consent refused": (
        with_(consent={"version": CONSENT, "given": False}),
        422,
        "value_invalid",
        {"consent": "consent_missing"},
    ),
}


def assert_refused(response: httpx.Response, status: int, code: str, fields: Mapping[str, str] | None = None) -> None:
    """Check a problem: status, codes, and a message in both languages, for each field too."""
    assert response.headers["content-type"] == "application/problem+json", response.text
    problem = response.json()
    named = {each["field"]: each["code"] for each in problem.get("errors", ())}
    assert (response.status_code, problem["code"], named) == (status, code, dict(fields or {})), problem
    for each in (problem, *problem.get("errors", ())):
        assert each["detail"] and any("آ" <= letter <= "ی" for letter in each["detail_fa"]), each
        assert "…" not in each["detail"] + each["detail_fa"], each


def post(system: RunningSystem, body: bytes, headers: Mapping[str, str]) -> httpx.Response:
    """Send an application as JSON."""
    return httpx.post(
        system.url + PATH, content=body, headers={"Content-Type": "application/json", **headers}, timeout=60
    )


def registered(system: RunningSystem) -> tuple[int, int]:
    """Return how many people have registered, and how many the ranking counts in Semnan: 0 without a round."""
    with MongoClient[dict[str, Any]](system.state.mongo) as client:
        applicants = client.registration.records.count_documents({"kind": "applicant", "private": {"$exists": True}})
    ranking = httpx.get(f"{system.url}/v1/ranking", headers={"Cache-Control": "no-cache"}, timeout=60).json()
    counted = sum(row["counts"]["registered"] for row in ranking.get("rows", ()) if row["province"] == SEMNAN)
    return applicants, counted


@pytest.mark.parametrize("what", BODIES)
def test_a_bad_application_is_refused_by_field(system: RunningSystem, registrar: dict[str, str], what: str) -> None:
    body, status, code, fields = BODIES[what]
    assert_refused(post(system, body, registrar), status, code, fields)
    assert registered(system) == (0, 0)


def test_invalid_tokens_are_refused(system: RunningSystem) -> None:
    """No token, nonsense, without signature, forged, expired, of another issuer, for another audience."""
    ours = ECKey.import_key(json.loads((system.workspace.run / "issuer.jwk").read_bytes()))
    other_key = ECKey.generate_key("P-256", {"kid": str(ours.kid)})
    now = int(time.time())
    good = {
        "iss": f"{system.url}/issuer",
        "aud": "peyvand",
        "sub": "x",
        "roles": ["registrar"],
        "province": SEMNAN,
        "iat": now,
        "nbf": now,
        "exp": now + 300,
    }

    def signed(key: Any = ours, **claims: Any) -> str:
        return jwt.encode({"alg": "ES256", "kid": ours.kid, "typ": "at+jwt"}, {**good, **claims}, key)

    whole = signed()
    unsigned = f"eyJhbGciOiJub25lIn0.{whole.split('.')[1]}."
    changed = ".".join([whole.split(".")[0], signed(roles=["manager"]).split(".")[1], whole.split(".")[2]])
    wrong = {
        "nonsense": "x.y.z",
        "no signature": unsigned,
        "changed afterwards": changed,
        "another key": signed(other_key),
        "expired": signed(iat=now - 900, nbf=now - 900, exp=now - 300),
        "not yet": signed(nbf=now + 900),
        "another issuer": signed(iss="https://elsewhere.example/issuer"),
        "another audience": signed(aud="bank"),
    }
    for what, token in wrong.items():
        response = post(system, VALID, {"Authorization": f"Bearer {token}"})
        assert response.headers["www-authenticate"].startswith("Bearer"), what
        assert_refused(response, 401, "unauthenticated")
    assert_refused(post(system, VALID, {}), 401, "unauthenticated")
    assert_refused(post(system, VALID, {"Authorization": "Basic eDp5"}), 401, "unauthenticated")
    assert_refused(post(system, VALID, {"Authorization": f"Bearer {signed(roles=['analyst'])}"}), 403, "forbidden")
    # the valid token is accepted, and the application refused
    assert_refused(post(system, b"", {"Authorization": f"Bearer {whole}"}), 422, "value_invalid", {"": "body_expected"})
    settles(lambda: registered(system), (0, 0), TIMEOUT)


def test_a_post_from_another_site_is_refused(system: RunningSystem, registrar: dict[str, str]) -> None:
    cookie = {"Cookie": f"{COOKIE}={registrar['Authorization'].removeprefix('Bearer ')}"}
    for headers in (
        {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {},
    ):
        assert_refused(post(system, VALID, {**cookie, **headers}), 403, "cross_site")
    form = {"Sec-Fetch-Site": "cross-site", "Content-Type": "application/x-www-form-urlencoded"}
    assert_refused(
        httpx.post(f"{system.url}/registration/apply", content=b"a=1", headers=form, timeout=60), 403, "cross_site"
    )
    assert_refused(post(system, VALID, {**registrar, "Host": "evil.example"}), 400, "host_unknown")
    settles(lambda: registered(system), (0, 0), TIMEOUT)


def test_digits_of_three_scripts_and_repeated_keys(system: RunningSystem, registrar: dict[str, str]) -> None:
    """Arabic and Persian digits are accepted; a repeated key gets the first response, with another body a refusal."""
    arabic, persian = "٠١٢٣٤٥٦٧٨٩", "۰۱۲۳۴۵۶۷۸۹"
    for n, script in enumerate((arabic, persian), 1):
        typed = str.maketrans("0123456789", script)
        body = with_(
            national_id=a_national_id(700 + n).translate(typed),
            birth_date="1368/04/14".translate(typed),
            mobile="09120000018".translate(typed),
        )
        key = {**registrar, "Idempotency-Key": f"bad-input-{n}"}
        first = post(system, body, key)
        assert first.status_code == 201, first.text
        again = post(system, body, key)
        assert (again.status_code, again.json()["id"]) == (201, first.json()["id"])
        assert_refused(post(system, with_(national_id=a_national_id(710 + n)), key), 422, "idempotency_key_reused")
        named = {"national_id": "already_registered"}
        assert_refused(
            post(system, body, {**registrar, "Idempotency-Key": f"other-{n}-key"}), 409, "already_registered", named
        )
    for key_, code in (("x", "idempotency_key_invalid"), ("k" * 129, "idempotency_key_invalid")):
        assert_refused(
            post(system, VALID, {**registrar, "Idempotency-Key": key_}), 400, code, {"Idempotency-Key": code}
        )
    settles(lambda: registered(system), (2, 2), TIMEOUT)


def absurd_events() -> Iterator[tuple[str, bytes, str]]:
    """Yield topic, bytes and subject of well-formed events with absurd values, none of them of Semnan."""
    by_type = {each["type"].rpartition("peyvand.")[2]: each for each in map(json.loads, examples().values())}
    registered, opened = by_type["registration.applicant.registered.v1"], by_type["screening.case.opened.v1"]
    changes = (
        {"time": "0001-01-01T00:00:00+14:00"},
        {"time": "9999-12-31T23:59:59-14:00"},
        {"recorded": "0001-01-01T00:00:00+14:00"},
        {"policy": "9999-1"},
        {"province": "IR-99"},
    )
    for example in (registered, opened):
        for change in changes:
            subject = str(uuid4())
            values = {"sequence": 1, "subject": subject, "province": TEHRAN, "county": f"{TEHRAN[-2:]}01"}
            yield f"peyvand.{example['source']}", json.dumps({**example, **values, **change}).encode(), subject


def test_a_thousand_undecodable_records_per_topic_block_no_applicant(
    system: RunningSystem, registrar: dict[str, str]
) -> None:
    """Every consumer keeps each of them, applicants behind them are counted, and no process is restarted."""
    starts, before = {name: each.starts for name, each in system.state.processes.items()}, registered(system)
    producer: Any = connect_producer(system.kafka_admin, "test")()
    for topic in TOPICS:
        records = undecodable_bytes(len(topic.name))
        for n in range(UNDECODABLE):
            producer.send(topic.name, key=b"test", value=next(records), partition=n % PARTITIONS)
    absurd = list(absurd_events())
    for name, raw, subject in absurd:
        producer.send(name, key=subject.encode(), value=raw, partition=partition_of(subject))
    producer.flush(60)
    producer.close()
    for n in range(PARTITIONS):
        response = post(system, with_(national_id=a_national_id(800 + n)), registrar)
        assert response.status_code == 201, response.text

    def undecodable() -> dict[str, int]:
        with MongoClient[dict[str, Any]](system.state.mongo) as client:
            return {each: database_of(client, each).undecodable.count_documents({}) for each in SERVICES}

    expected = {each: UNDECODABLE * len(topics_consumed_by(each)) for each in SERVICES}
    every = (before[0] + PARTITIONS, before[1] + PARTITIONS)
    settles(lambda: (undecodable(), registered(system)), (expected, every), 2 * TIMEOUT)
    assert httpx.get(f"{system.url}/readyz", timeout=60).json() == {"ready": True, "reasons": []}
    assert {name: each.starts for name, each in system.state.processes.items()} == starts
    api = ApiClient(system.url, sign_in(system.url, "operator"))
    letters = Counter[str]()
    for each in api.get("/v1/dead-letters", limit=500):
        letters[each["kind"]] += each["letters"]
    assert letters["undecodable"] == expected["reporting"] and 0 < letters["parked"] <= len(absurd)
