"""Rounds and quotas over HTTP: the ministry sets them, everyone reads them."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from contracts.envelope import decode
from contracts.events import QuotaSet, RoundOpened, RoundWindowSet
from programme.reference import provinces
from tests.support.registration_api import ROUND, SECOND, RegistrationApi, registration_api

QUOTAS = "/v1/rounds/1404/quotas/import"


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[RegistrationApi]:
    async with registration_api(tmp_path) as running:
        yield running


def quota_file(**changes: str) -> str:
    rows = [f"{p.code},{p.name_fa},{changes.get(p.code, '1300')}" for p in provinces().values()]
    return "province,name_fa,quota\n" + "\n".join(rows) + "\n"


async def test_the_ministry_opens_a_round_and_everyone_can_read_it(api: RegistrationApi) -> None:
    await api.open_round()
    await api.open_round()
    emitted = [type(decode(raw).event) for raw in api.store.events["round:1404"]]
    assert emitted == [RoundOpened, RoundWindowSet], "opening the same round again emits nothing"
    shown = await api.request("GET", "/v1/rounds/1404", "")
    assert shown.json()["windows"] == [ROUND["windows"][0]] and shown.json()["policy"] == "1404-1"
    assert len((await api.request("GET", "/v1/rounds", "")).json()["items"]) == 1
    assert (await api.request("GET", "/v1/rounds/1403", "")).status_code == 404


@pytest.mark.parametrize(
    ("changes", "field", "code"),
    [
        ({"fields": ["JF001", "XX"]}, "fields.1", "field_unknown"),
        ({"fields": []}, "fields", "missing_field"),
        ({"policy": "1300-1"}, "policy", "policy_unknown"),
        ({"closes": "2025-09-01T00:00:00Z"}, "closes", "closes_before_opens"),
        ({"opens": "2025-09-27T00:00:00"}, "opens", "wrong_type"),
        ({"opens": "1999-09-27T00:00:00Z"}, "opens", "value_invalid"),
        ({"closes": "3000-09-27T00:00:00Z"}, "closes", "value_invalid"),
        (
            {"windows": [{"province": "IR-31", "opens": ROUND["opens"], "closes": ROUND["closes"]}]},
            "windows.0.province",
            "province_code_old",
        ),
    ],
)
async def test_invalid_rounds_are_refused(
    api: RegistrationApi, changes: dict[str, object], field: str, code: str
) -> None:
    refused = await api.request("PUT", "/v1/rounds/1404", "ministry_admin", json=ROUND | changes)
    assert refused.status_code == 422
    assert (refused.json()["errors"][0]["field"], refused.json()["errors"][0]["code"]) == (field, code)
    assert not api.store.records


@pytest.mark.parametrize("round_id", ["1200", "1404-100", "2025", "x"])
async def test_a_round_that_no_event_could_name_is_refused(api: RegistrationApi, round_id: str) -> None:
    assert (await api.request("PUT", f"/v1/rounds/{round_id}", "ministry_admin", json=ROUND)).status_code == 422


async def test_only_the_ministry_opens_rounds_and_sets_quotas(api: RegistrationApi) -> None:
    assert (await api.request("PUT", "/v1/rounds/1404", "manager", json=ROUND)).status_code == 403
    await api.open_round()
    for role, status in (("manager", 403), ("", 401)):
        assert (await api.request("POST", QUOTAS, role, csv=quota_file())).status_code == status


async def test_thirty_one_quotas_in_one_file_and_a_repetition_changes_none(api: RegistrationApi) -> None:
    await api.open_round()
    file = quota_file(**{"IR-20": "۱۳۰۰", "IR-23": "0"}).replace("سیستان و بلوچستان", "سيستان‌وبلوچستان")
    first = await api.request("POST", QUOTAS, "ministry_admin", csv=file)
    assert first.status_code == 201 and len(first.json()["changes"]) == 30, "no quota and a quota of 0 are the same"
    await api.sign(first.json())
    again = await api.request("POST", QUOTAS, "ministry_admin", csv=file)
    assert again.json()["code"] == "proposal_empty"
    seats = (await api.request("GET", "/v1/rounds/1404/quotas", "")).json()["items"]
    assert [s["province"] for s in seats] == [each for each in provinces() if each != "IR-23"]
    semnan = next(s for s in seats if s["province"] == "IR-20")
    assert semnan == {"province": "IR-20", "quota": 1300, "available": 1300, "held": 0, "admitted": 0, "waiting": 0}
    [raw] = api.store.events["ledger:1404/IR-20"]
    assert decode(raw).event == QuotaSet(quota=1300, proposal=first.json()["id"])
    assert decode(raw).actor == f"ministry_admin:{SECOND}"


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
async def test_one_invalid_row_refuses_the_file(api: RegistrationApi, old: str, new: str, row: int, code: str) -> None:
    await api.open_round()
    refused = await api.request("POST", QUOTAS, "ministry_admin", csv=quota_file().replace(old, new))
    assert refused.status_code == 422
    assert [(e["row"], e["code"]) for e in refused.json()["errors"]] == [(row, code)]
    assert (await api.request("GET", "/v1/rounds/1404/quotas", "")).json()["items"] == []


async def test_one_quota_below_the_held_seats_refuses_the_file(api: RegistrationApi) -> None:
    await api.open_round(quota=2)
    held = api.store.records["ledger:1404/IR-20"]
    api.store.records["ledger:1404/IR-20"] = replace(held, state=replace(held.state, admitted=2))
    refused = await api.request("POST", QUOTAS, "ministry_admin", csv=quota_file(**{"IR-20": "1"}))
    assert [(e["row"], e["code"]) for e in refused.json()["errors"]] == [(22, "quota_below_admitted")]
    assert [each for each in api.store.records if each[:4] == "ledg"] == ["ledger:1404/IR-20"]
