"""Rounds and quotas over HTTP: the ministry opens and notifies, everybody reads."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from contracts.envelope import decode
from contracts.events import QuotaSet, RoundOpened, RoundWindowSet
from programme.reference import provinces
from tests.support.registration_api import ROUND, RegistrationOffice, registration_office

QUOTAS = "/v1/rounds/1404/quotas/import"


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[RegistrationOffice]:
    async with registration_office(tmp_path) as open_office:
        yield open_office


def a_table(**changes: str) -> str:
    rows = [f"{p.code},{p.name_fa},{changes.get(p.code, '1300')}" for p in provinces().values()]
    return "province,name_fa,quota\n" + "\n".join(rows) + "\n"


async def test_the_ministry_opens_a_round_and_everybody_can_read_it(office: RegistrationOffice) -> None:
    await office.open()
    await office.open()
    said = [type(decode(raw).event) for raw in office.store.emitted["round:1404"]]
    assert said == [RoundOpened, RoundWindowSet], "opening it the same again says nothing"
    shown = await office.ask("GET", "/v1/rounds/1404", "")
    assert shown.json()["windows"] == [ROUND["windows"][0]] and shown.json()["policy"] == "1404-1"
    assert len((await office.ask("GET", "/v1/rounds", "")).json()["items"]) == 1
    assert (await office.ask("GET", "/v1/rounds/1403", "")).status_code == 404


@pytest.mark.parametrize(
    ("changes", "field", "code"),
    [
        ({"fields": ["JF001", "XX"]}, "fields.1", "field_unknown"),
        ({"fields": []}, "fields", "missing_field"),
        ({"policy": "1300-1"}, "policy", "policy_unknown"),
        ({"closes": "2025-09-01T00:00:00Z"}, "closes", "closes_before_opens"),
        ({"opens": "2025-09-27T00:00:00"}, "opens", "wrong_type"),
        (
            {"windows": [{"province": "IR-31", "opens": ROUND["opens"], "closes": ROUND["closes"]}]},
            "windows.0.province",
            "province_code_old",
        ),
    ],
)
async def test_rounds_that_make_no_sense(
    office: RegistrationOffice, changes: dict[str, object], field: str, code: str
) -> None:
    refused = await office.ask("PUT", "/v1/rounds/1404", "ministry_admin", json=ROUND | changes)
    assert refused.status_code == 422
    assert (refused.json()["errors"][0]["field"], refused.json()["errors"][0]["code"]) == (field, code)
    assert not office.store.kept


async def test_only_the_ministry_opens_rounds_and_sets_quotas(office: RegistrationOffice) -> None:
    assert (await office.ask("PUT", "/v1/rounds/1404", "manager", json=ROUND)).status_code == 403
    await office.open()
    for role, status in (("manager", 403), ("", 401)):
        assert (await office.ask("POST", QUOTAS, role, csv=a_table())).status_code == status
        assert (await office.ask("PUT", "/v1/rounds/1404/quotas/IR-20", role, json={"quota": 1})).status_code == status


async def test_thirty_one_quotas_in_one_file_and_again_nothing(office: RegistrationOffice) -> None:
    await office.open()
    file = a_table(**{"IR-20": "۱۳۰۰", "IR-23": "0"}).replace("سیستان و بلوچستان", "سيستان‌وبلوچستان")
    first = await office.ask("POST", QUOTAS, "ministry_admin", csv=file)
    assert first.json() == {"rows": 31, "changed": 31}
    assert (await office.ask("POST", QUOTAS, "ministry_admin", csv=file)).json() == {"rows": 31, "changed": 0}
    seats = (await office.ask("GET", "/v1/rounds/1404/quotas", "")).json()["items"]
    assert [s["province"] for s in seats] == list(provinces())
    semnan = next(s for s in seats if s["province"] == "IR-20")
    assert semnan == {"province": "IR-20", "quota": 1300, "available": 1300, "held": 0, "admitted": 0, "waiting": 0}
    [raw] = office.store.emitted["ledger:1404/IR-20"]
    assert decode(raw).event == QuotaSet(quota=1300) and decode(raw).actor == "ministry_admin:of-2f9c"


@pytest.mark.parametrize(
    ("old", "new", "row", "code"),
    [
        ("IR-20,سمنان", "IR-20,لرستان", 22, "province_name_mismatch"),  # the old numbering: IR-20 was Lorestan
        ("IR-30,", "IR-32,", 32, "province_code_old"),
        ("IR-20,سمنان", "IR-99,سمنان", 22, "province_unknown"),
        ("IR-21,یزد", "IR-20,سمنان", 23, "named_twice"),
        ("IR-20,سمنان,1300", "IR-20,سمنان,-5", 22, "quota_invalid"),
        ("IR-20,سمنان,1300", "IR-20,سمنان,many", 22, "quota_invalid"),
        ("IR-20,سمنان,1300", "IR-20,سمنان", 22, "quota_invalid"),
    ],
)
async def test_a_file_of_quotas_is_taken_whole_or_not(
    office: RegistrationOffice, old: str, new: str, row: int, code: str
) -> None:
    await office.open()
    refused = await office.ask("POST", QUOTAS, "ministry_admin", csv=a_table().replace(old, new))
    assert refused.status_code == 422
    assert [(e["row"], e["code"]) for e in refused.json()["errors"]] == [(row, code)]
    assert (await office.ask("GET", "/v1/rounds/1404/quotas", "")).json()["items"] == []


async def test_one_quota_below_what_is_held_refuses_the_file(office: RegistrationOffice) -> None:
    await office.open(quota=2)
    held = office.store.kept["ledger:1404/IR-20"]
    office.store.kept["ledger:1404/IR-20"] = replace(held, state=replace(held.state, admitted=2))
    refused = await office.ask("POST", QUOTAS, "ministry_admin", csv=a_table(**{"IR-20": "1"}))
    assert [(e["row"], e["code"]) for e in refused.json()["errors"]] == [(22, "quota_below_admitted")]
    assert list(office.store.kept) == ["round:1404", "ledger:1404/IR-20"]
