"""The scope of an officer applies to each row of a file, too."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.registration_api import RegistrationApi, csv_file, registration_api


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[RegistrationApi]:
    async with registration_api(tmp_path) as running:
        yield running


async def test_people_of_another_province_are_refused_row_by_row(api: RegistrationApi) -> None:
    await api.open_round()
    path = "/v1/rounds/1404/applications/import"
    refused = await api.request("POST", path, scope="IR-07", csv=csv_file(range(1, 4)), key="key-file")
    assert refused.json()["code"] == "rows_invalid"
    assert {(e["row"], e["field"], e["code"]) for e in refused.json()["errors"]} == {
        (row, "province", "scope_other") for row in (2, 3, 4)
    }
    assert not await api.applicants()
    own = await api.request("POST", path, scope="IR-20", csv=csv_file(range(1, 4)), key="key-of-own")
    assert own.status_code in (200, 201) and len(await api.applicants()) == 3, own.text
