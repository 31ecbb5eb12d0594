"""Every file belongs to a layer and imports only what the table of layers allows; nothing imports in circles."""

import ast
import re
import subprocess
import sys

import pytest

from tests.house.layers import (
    LAYERS,
    layer_of,
    leading_to_kafka,
    misplaced_libraries,
    table,
    table_of_libraries,
    violations,
)
from tests.house.modules import (
    KAFKA_CLIENTS,
    WEB_FRAMEWORKS,
    cycles,
    graph_of,
    leading_to,
    own_graph,
    packages_of_services,
    reachable,
)
from tests.house.sources import PACKAGES, ROOT, SERVICES, Source, assert_none, sources

MARKET = "services/market/market"


def test_imports_follow_the_table() -> None:
    found = [each for source in sources() for each in violations(source)]
    assert_none(found, "move the code to a layer that may import it: see the table of layers in CONTRIBUTING.md")


def test_libraries_are_imported_where_they_belong() -> None:
    found = [each for source in sources() for each in misplaced_libraries(source)]
    assert_none(found, "use the library through the files that ONLY_IN of tests/house/layers.py names for it")


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("shared/contracts/new.py", "from kernel.store import Store"),
        ("shared/contracts/new.py", "import pymongo"),
        ("shared/contracts/new.py", "import yaml"),
        ("shared/programme/new.py", "from base.clock import Clock"),
        ("shared/base/new.py", "from programme import text"),
        ("shared/base/new.py", "import fastapi"),
        ("shared/observability/new.py", "from kernel.record import Record"),
        ("shared/kernel/new.py", "from registration.domain import applicant"),
        ("shared/kernel/new.py", "from programme import reference"),
        ("shared/kernel/new.py", "from recovery.replay import replay"),
        ("shared/kernel/new.py", "import fastapi"),
        ("shared/kernel/new.py", "import starlette"),
        ("shared/kernel/new.py", "import uvicorn"),
        ("shared/recovery/new.py", "from web.app import create"),
        ("shared/recovery/new.py", "import fastapi"),
        ("shared/security/new.py", "from kernel.kafka.relay import Relay"),
        ("shared/security/new.py", "from kernel.roles import worker"),
        ("shared/security/new.py", "from web.problems import problem"),
        ("shared/security/new.py", "import aiokafka"),
        ("shared/web/new.py", "from kernel.kafka import relay"),
        ("shared/web/new.py", "from kernel.roles.worker import Worker"),
        ("shared/web/new.py", "from run.api import app"),
        ("shared/web/new.py", "from programme.reference import provinces"),
        ("shared/web/new.py", "from market.domain import offer"),
        ("shared/run/new.py", "from market.service import service"),
        (f"{MARKET}/domain/new.py", "from kernel.record import Record"),
        (f"{MARKET}/domain/new.py", "import pymongo"),
        (f"{MARKET}/domain/new.py", "from market.queries import offers"),
        (f"{MARKET}/domain/new.py", "from screening.domain import case"),
        (f"{MARKET}/queries.py", "import fastapi"),
        (f"{MARKET}/queries.py", "from market.api import producers"),
        (f"{MARKET}/queries.py", "from market.jobs import jobs"),
        (f"{MARKET}/queries.py", "from web.problems import problem"),
        (f"{MARKET}/queries.py", "from kernel.kafka import relay"),
        (f"{MARKET}/jobs.py", "from market.api import producers"),
        (f"{MARKET}/jobs.py", "from web.problems import problem"),
        (f"{MARKET}/jobs.py", "import kafka"),
        (f"{MARKET}/schemas.py", "from market.api import producers"),
        (f"{MARKET}/schemas.py", "import aiokafka"),
        ("services/registration/registration/persons.py", "from registration.api import applications"),
        ("services/registration/registration/persons.py", "from web.problems import problem"),
        ("services/registration/registration/queries.py", "from registration.persons import Persons"),
        (f"{MARKET}/api/new.py", "from kernel.roles import worker"),
        (f"{MARKET}/api/new.py", "import pymongo"),
        (f"{MARKET}/api/new.py", "from market.pages import market"),
        (f"{MARKET}/api/new.py", "from market.service import service"),
        (f"{MARKET}/pages/new.py", "from reporting.queries import ranking"),
        (f"{MARKET}/metrics.py", "from kernel.record import Record"),
        (f"{MARKET}/settings.py", "from kernel.record import Record"),
        (f"{MARKET}/service.py", "import fastapi"),
        (f"{MARKET}/service.py", "from web.app import create"),
        (f"{MARKET}/service.py", "from market.api import producers"),
        (f"{MARKET}/service.py", "from kernel.kafka import relay"),
        (f"{MARKET}/service.py", "from kernel.stores.mongodb import MongoStore"),
        (f"{MARKET}/utils.py", "import re"),
        ("deploy/peyvand/peyvand/new.py", "from market.domain import offer"),
        ("deploy/peyvand/peyvand/new.py", "from market.queries import offers"),
        ("deploy/peyvand/peyvand/verify/recount.py", "from contracts import codes"),
        ("deploy/peyvand/peyvand/verify/recount.py", "from peyvand.local_cluster import workspace"),
        ("deploy/setup.py", "import msgspec"),
    ],
)
def test_a_forbidden_import_is_found(path: str, line: str) -> None:
    assert violations(Source(path, line))


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("shared/contracts/publish.py", "import yaml"),
        ("shared/web/new.py", "from programme.messages import MESSAGES"),
        ("shared/web/new.py", "from kernel.commands import execute"),
        ("shared/run/new.py", "from kernel.roles.worker import Worker"),
        (f"{MARKET}/domain/new.py", "from market.domain import offer"),
        (f"{MARKET}/domain/new.py", "from programme import text"),
        (f"{MARKET}/queries.py", "from kernel.query import Query"),
        (f"{MARKET}/jobs.py", "from market import metrics, queries"),
        ("services/registration/registration/jobs.py", "from registration.persons import Persons"),
        (f"{MARKET}/api/new.py", "from market.queries import offers"),
        (f"{MARKET}/pages/new.py", "from web.pages import render"),
        (f"{MARKET}/service.py", "from kernel.service import Service"),
        (f"{MARKET}/service.py", "from market.domain import producer"),
        ("deploy/peyvand/peyvand/new.py", "from market.service import service"),
        ("tests/rules/test_new.py", "from market.domain import offer"),
    ],
)
def test_an_allowed_import_is_not_found(path: str, line: str) -> None:
    assert violations(Source(path, line)) == []


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("shared/kernel/roles/worker.py", "import faust"),
        ("shared/kernel/roles/worker.py", "from kafka import KafkaProducer"),
        ("shared/kernel/batch.py", "import aiokafka"),
        ("shared/programme/text.py", "from persiantools import digits"),
    ],
)
def test_a_misplaced_library_is_found(path: str, line: str) -> None:
    assert misplaced_libraries(Source(path, line))


def codes(source: Source) -> list[str]:
    """Return the literals with codes of provinces in a file; docstrings may have examples."""
    docstrings = {node.value for node in source.nodes if isinstance(node, ast.Expr)}
    return [
        f"{source.path}:{node.lineno} has {node.value!r}"
        for node in source.nodes
        if isinstance(node, ast.Constant) and node not in docstrings and "IR-" in str(node.value)
    ]


def test_shared_layers_have_no_codes_of_provinces() -> None:
    below = [f"shared/{package}/" for package in PACKAGES if package not in ("contracts", "programme")]
    found = [each for source in sources() if source.path.startswith(tuple(below)) for each in codes(source)]
    assert_none(found, "let the caller check the code by programme.reference")


def test_a_code_of_a_province_is_found() -> None:
    assert codes(Source("shared/security/new.py", '"""As IR-20."""\nPROVINCE = re.compile(r"IR-[0-2][0-9]|IR-30")\n'))
    assert not codes(Source("shared/security/new.py", '"""As IR-20."""\n'))


def test_modules_that_load_a_kafka_client_are_known() -> None:
    loading = leading_to_kafka()
    assert {"kernel.kafka.consumer_group", "kernel.kafka.log_reader", "kernel.roles.worker"} <= loading
    assert not loading & {"kernel.record", "kernel.batch", "kernel.stores.mongodb", "web.app"}


def test_every_layer_has_files() -> None:
    used = {layer.name for source in sources() if (layer := layer_of(source.path))}
    assert_none({layer.name for layer in LAYERS} - used, "remove the row from LAYERS in tests/house/layers.py")


def test_contributing_prints_exactly_these_tables() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    printed = re.findall(r"(?m)^(?:\|.*\n)+", page)
    assert_none(
        [each for each in (table(), table_of_libraries()) if each not in printed],
        "copy these tables of tests/house/layers.py to CONTRIBUTING.md",
    )


# What a process loads


def loaded(modules: str) -> set[str]:
    """Import modules in a process of its own; return the top names of everything that is loaded."""
    program = f"import sys\n{modules}\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert ran.returncode == 0, ran.stderr
    return set(ran.stdout.split())


DECLARATIONS = "\n".join(f"import {service}.service" for service in SERVICES)
ROUTERS = "\n".join(
    f"for each in {service}.service.service.routers: importlib.import_module(each.partition(':')[0])"
    for service in SERVICES
)


def test_a_worker_process_loads_no_web_framework() -> None:
    names = loaded(f"import run.worker\n{DECLARATIONS}")
    assert "aiokafka" in names, "the canary: a worker loads its clients"
    assert names & {"fastapi", "starlette"} == set()


def test_an_api_process_loads_no_kafka_client() -> None:
    names = loaded(f"import importlib, run.api\n{DECLARATIONS}\n{ROUTERS}")
    assert "fastapi" in names, "the canary: routers load their framework"
    assert names & set(KAFKA_CLIENTS) == set()


def test_a_declaration_loads_neither_a_web_framework_nor_a_kafka_client() -> None:
    assert loaded(DECLARATIONS) & {*WEB_FRAMEWORKS, *KAFKA_CLIENTS} == set()


def test_the_status_loads_no_kafka_client_with_the_backlog() -> None:
    assert loaded("import run.backlog") & {*WEB_FRAMEWORKS, *KAFKA_CLIENTS} == set()


def test_what_a_process_loads_is_seen() -> None:
    assert {"starlette", "fastapi"} <= loaded("import fastapi")
    assert "aiokafka" in loaded("import kernel.kafka.log_reader")


# Circles


def test_nothing_imports_in_circles() -> None:
    found = [*cycles(own_graph()), *cycles(packages_of_services(own_graph()))]
    assert_none(found, "move what both need to a module of its own")


def test_a_circle_is_found() -> None:
    circle = [
        Source("shared/base/a.py", "from base import b"),
        Source("shared/base/b.py", "from base.c import thing"),
        Source("shared/base/c.py", "try:\n    import base.a\nexcept ImportError:\n    pass"),
        Source("shared/base/d.py", "import base.a"),
    ]
    assert cycles(graph_of(circle)) == ["base.a -> base.b -> base.c -> base.a"]
    late = Source("shared/base/c.py", "def f():\n    import base.a")
    assert cycles(graph_of([*circle[:2], late])) == []


def test_a_circle_of_packages_is_found() -> None:
    circle = [
        Source(f"{MARKET}/api/a.py", "from market.pages.c import thing"),
        Source(f"{MARKET}/pages/b.py", "from market.api.d import thing"),
        Source(f"{MARKET}/pages/c.py", ""),
        Source(f"{MARKET}/api/d.py", "from market import schemas"),
        Source(f"{MARKET}/schemas.py", ""),
    ]
    graph = graph_of(circle)
    assert cycles(graph) == []
    assert cycles(packages_of_services(graph)) == ["market.api -> market.pages -> market.api"]
    assert cycles(packages_of_services(graph_of(circle[1:]))) == []


def test_what_an_import_leads_to_is_followed() -> None:
    graph = graph_of(
        [
            Source("shared/kernel/a.py", "from kernel import b"),
            Source("shared/kernel/b.py", "from aiokafka import TopicPartition"),
            Source("shared/kernel/c.py", "if TYPE_CHECKING:\n    import kernel.b"),
        ]
    )
    assert reachable(graph, "kernel.a") == {"kernel.b", "aiokafka"}
    assert leading_to(graph, KAFKA_CLIENTS) == {"kernel.a", "kernel.b"}
