"""Fixtures for all tests: real servers and browsers, started only when a test asks for them."""

import shutil
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import HealthCheck, settings

from kernel.kafka.failed_connections import close_failed_connections
from tests.support import servers as real_servers
from tests.support import system as running_system
from tests.support.servers import Servers
from tests.support.system import RunningSystem

pytest_plugins = ["tests.support.fixtures"]

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@pytest.hookimpl(tryfirst=True)
def pytest_configure() -> None:
    """Draw the same examples in each run, without a limit of time, which a busy machine exceeds by itself.

    `--hypothesis-profile=search` draws others, and prints one that fails so that it can be repeated.
    """
    untimed = settings(deadline=None, database=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
    settings.register_profile("search", untimed, max_examples=1_000)
    settings.register_profile("certain", untimed, derandomize=True)
    settings.load_profile("certain")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest: of two processes neither waits for the other at the end."""
    items.sort(key=lambda item: -2 * bool(item.get_closest_marker("long")) - bool(item.get_closest_marker("server")))


@pytest.fixture(scope="session", autouse=True)
def plain_logs() -> None:
    """Format tracebacks as Python does: structlog's own format takes seconds for the locals of an application."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            structlog.processors.KeyValueRenderer(key_order=["level", "event"]),
        ]
    )


@pytest.fixture(scope="session", autouse=True)
def no_sockets_left(request: pytest.FixtureRequest) -> None:
    """Close the sockets that kafka-python leaves open where tests end a broker."""
    if any(item.get_closest_marker("server") for item in request.session.items):
        close_failed_connections()


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Start a real Kafka and a real MongoDB."""
    with real_servers.started(tmp_path_factory.mktemp("servers")) as running:
        yield running


@pytest.fixture(scope="session")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSystem]:
    """Start the whole platform, every process ready. A test that kills a process waits until it is back."""
    with running_system.started(tmp_path_factory.mktemp("system")) as running:
        yield running


@pytest.fixture(scope="session")
def chromium() -> str:
    """Return the path of a browser. Without one, a test of pages is reported as not run, never as passed."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip("not run: there is no browser on this machine")
    return found
