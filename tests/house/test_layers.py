"""Every line of code is in a room, and imports what the room's table allows."""

import re

import pytest

from tests.house.layers import ROOMS, alone, room_of, strays, table, trespasses
from tests.house.sources import HOME, Source, sources


def test_imports_point_inwards() -> None:
    assert [found for source in sources() for found in trespasses(source)] == []
    assert [found for source in sources() for found in strays(source)] == []


@pytest.mark.parametrize(
    ("where", "line"),
    [
        ("shared/contracts/new.py", "from kernel.store import Store"),
        ("shared/contracts/new.py", "import pymongo"),
        ("shared/kernel/new.py", "from registration.domain import applicant"),
        ("services/market/market/domain/new.py", "from kernel.record import Record"),
        ("services/market/market/domain/new.py", "import pymongo"),
        ("services/market/market/domain/new.py", "from market.store import ready"),
        ("services/market/market/domain/new.py", "from screening.domain import case"),
        ("services/market/market/store.py", "import fastapi"),
        ("services/market/market/store.py", "from market.api import app"),
        ("services/market/market/consumer.py", "from market import api"),
        ("services/market/market/api/new.py", "from market.consumer import HEARS"),
        ("services/market/market/api/new.py", "import pymongo"),
        ("services/market/market/main.py", "from reporting import main"),
        ("services/market/market/utils.py", "import re"),
        ("deploy/peyvand/peyvand/new.py", "from market.domain import offer"),
        ("deploy/peyvand/peyvand/verify/recount.py", "from contracts import calendar"),
        ("deploy/peyvand/peyvand/verify/recount.py", "from peyvand.local_cluster import workspace"),
        ("deploy/setup.py", "import msgspec"),
    ],
)
def test_the_table_bites(where: str, line: str) -> None:
    assert trespasses(Source(where, line))


@pytest.mark.parametrize(
    ("where", "line"),
    [
        ("services/market/market/domain/new.py", "from market.domain import offer"),
        ("services/market/market/domain/new.py", "from programme import text"),
        ("services/market/market/api.py", "from market.store import ready"),
        ("services/market/market/main.py", "from market import api, consumer, store"),
        ("deploy/peyvand/peyvand/new.py", "from market import main"),
        ("tests/rules/test_new.py", "from market.domain import offer"),
    ],
)
def test_the_table_allows(where: str, line: str) -> None:
    assert trespasses(Source(where, line)) == []


@pytest.mark.parametrize(
    ("where", "line"),
    [
        ("shared/kernel/roles/worker.py", "import faust"),
        ("shared/kernel/roles/worker.py", "from kafka import KafkaProducer"),
        ("shared/programme/text.py", "from persiantools import digits"),
    ],
)
def test_a_stray_library_is_noticed(where: str, line: str) -> None:
    assert strays(Source(where, line))


def test_every_room_is_lived_in() -> None:
    lived_in = {room.name for source in sources() if (room := room_of(source.where))}
    assert {room.name for room in ROOMS} <= lived_in


def test_the_house_in_one_page_prints_exactly_these_tables() -> None:
    page = (HOME / "CONTRIBUTING.md").read_text(encoding="utf-8")
    printed = re.findall(r"(?m)^(?:\|.*\n)+", page)
    assert table() in printed
    assert alone() in printed
