"""Workers on the real parts."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from plumbing.store import execute
from tests.parts import Parts
from tests.plumbing.country import Register, noon
from tests.plumbing.running import Country

pytestmark = pytest.mark.server


@pytest.fixture
async def country(parts: Parts) -> AsyncIterator[Country]:
    """A small country on the real parts."""
    country = Country(parts)
    await country.prepare()
    yield country
    await country.close()


async def test_an_event_goes_from_a_request_to_the_tallies(country: Country) -> None:
    """execute, relay, Kafka, worker, process, record, and back."""
    for service in ("registration", "screening", "reporting"):
        country.start(country.worker(service))
    asking = country.store("registration")
    people = [f"p{n}" for n in range(100)]
    await asyncio.gather(*(execute(asking, p, Register(), noon) for p in people))

    async def counted() -> bool:
        return await country.tallies().counts() == {"IR-20/ApplicantRegistered": 100, "IR-20/CaseOpened": 100}

    await country.until(counted)
    await asyncio.sleep(0.3)
    records = await asking.read(people)
    assert {r.state.heard for r in records.values()} == {("CaseOpened",)}
