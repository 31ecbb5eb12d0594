"""What a visitor types is shown as text: no form returns it as HTML."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from registration.pages.steps import STEPS
from tests.support.registration_api import RegistrationApi, registration_api

HOSTILE = "'\"><script>alert(1)</script>{{7*7}}"


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[RegistrationApi]:
    async with registration_api(tmp_path) as running:
        running.client.headers["Accept"] = "text/html"
        yield running


def executable(html: str) -> list[str]:
    """Return what a browser would run or a template has computed of the hostile text."""
    return re.findall(r"<script>alert|(?:>|&gt;)49", html)


@pytest.mark.parametrize("step", STEPS, ids=lambda step: str(step.slug))
async def test_a_refused_form_returns_what_was_typed_as_text(api: RegistrationApi, step: object) -> None:
    await api.open_round()
    slug, fields = step.slug, [field.name for field in step.fields]  # type: ignore[attr-defined]
    typed = dict.fromkeys([*fields, "day", "month", "year"], HOSTILE)
    shown = await api.client.post(f"/registration/apply/{slug}", data=typed)
    assert shown.status_code == 422 and "<form" in shown.text
    assert executable(shown.text) == []


@pytest.mark.parametrize("path", ["/registration/tracking/{}", "/registration/apply/{}", "/registration/done?code={}"])
async def test_an_address_is_returned_as_text(api: RegistrationApi, path: str) -> None:
    await api.open_round()
    shown = await api.client.get(path.format(HOSTILE))
    assert shown.status_code in (200, 303, 404, 422) and executable(shown.text) == []


def test_executable_text_is_found() -> None:
    assert executable(f'<input value="{HOSTILE}">') and executable("script&gt;49")
    assert executable('<input value="&#34;&gt;&lt;script&gt;alert(1)">') == []
