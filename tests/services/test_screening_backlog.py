"""The backlog over ASGI: by age and stage, from counters, in the officer's own area."""

from collections.abc import AsyncIterator
from datetime import date, timedelta
from pathlib import Path

import pytest

from contracts.codes import CONDITIONS
from contracts.events import ApplicantAdmitted, ApplicantWithdrawn
from tests.support.screening_api import START, ScreeningApi

APPROVE = {"outcome": "approved", "checklist": dict.fromkeys(CONDITIONS, True)}
DUE = date(2025, 10, 8)  # of a case of the first day


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[ScreeningApi]:
    """Screening over memory."""
    api = ScreeningApi(tmp_path)
    yield api
    await api.http.aclose()


async def stages(api: ScreeningApi) -> dict[str, dict[str, int]]:
    """Return how many cases there are by stage and age, without zeros."""
    (found,) = (await api.request("GET", "/v1/cases/backlog")).json()
    shown = {stage: {age: n for age, n in ages.items() if n} for stage, ages in found["stages"].items()}
    return {stage: ages for stage, ages in shown.items() if ages}


@pytest.mark.parametrize(
    ("days", "age"),
    [
        (-8, "later"),
        (-7, "one_week"),
        (-1, "one_week"),
        (0, "today"),
        (1, "late"),
        (7, "late"),
        (8, "over_one_week"),
        (14, "over_one_week"),
        (15, "over_two_weeks"),
    ],
)
async def test_age_counts_from_the_day_of_the_deadline(api: ScreeningApi, days: int, age: str) -> None:
    case = await api.register(1)
    assert (await api.request("GET", f"/v1/cases/{case}")).json()["due"] == DUE.isoformat()
    api.now = START + (DUE - START.date()) + timedelta(days=days)
    assert await stages(api) == {"open": {age: 1}}


async def test_each_stage_is_counted_and_the_others_by_state(api: ScreeningApi) -> None:
    await api.register(1)
    await api.rejected(2)
    path = f"/v1/cases/{await api.rejected(3)}/appeal"
    (await api.request("POST", path, "manager", id="of-3", json={"form": "20-1404-173"})).raise_for_status()
    for n in (4, 5):
        case = await api.register(n)
        (await api.request("POST", f"/v1/cases/{case}/decision", json=APPROVE)).raise_for_status()
        await api.consume(n, ApplicantAdmitted())
    await api.consume(5, ApplicantWithdrawn(reason="moved"))
    await api.register(6, "IR-23")
    (await api.request("POST", "/v1/cases/next")).raise_for_status()
    found = {stage: sum(ages.values()) for stage, ages in (await stages(api)).items()}
    assert found == {"open": 1, "appealed": 1, "awaiting_capacity": 1}, "a claimed case is an open one"
    (area,) = (await api.request("GET", "/v1/cases/backlog")).json()
    assert (area["area"], area["others"]) == ("IR-20", {"decided": 1, "closed": 1})


async def test_page_shows_how_much_is_late_and_compares_provinces_for_national_roles_only(api: ScreeningApi) -> None:
    await api.register(1)
    await api.register(2, "IR-23")
    api.http.headers["Accept"] = "text/html"
    api.http.cookies.set("peyvand_token", api.issuer.token("manager", id="of-1", province="IR-20"))
    calm = (await api.http.get("/screening/backlog")).text
    assert "هیچ کاری در پایش دیر نشده است" in calm and "نوبت اقدام با کیست؟" in calm and "تهران" not in calm
    api.now = START + timedelta(days=20)
    assert "<h1>1 task of screening is late</h1>" in (await api.http.get("/screening/backlog?lang=en")).text
    api.http.cookies.set("peyvand_token", api.issuer.token("jahad_national", id="of-2"))
    nationwide = (await api.http.get("/screening/backlog?lang=en")).text
    assert "<h1>2 tasks of screening are late</h1>" in nationwide
    assert nationwide.index("Tehran") < nationwide.index("Khuzestan"), "most late cases first"
