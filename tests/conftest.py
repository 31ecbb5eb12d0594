"""What several rooms of tests share: the real parts, started only when a test asks for them."""

import shutil
from collections.abc import Iterator

import pytest
import structlog

from tests.support import servers as real_servers
from tests.support import system as running_system
from tests.support.servers import Servers
from tests.support.system import RunningSystem

pytest_plugins = ["tests.support.fixtures"]

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@pytest.fixture(scope="session", autouse=True)
def plain_logs() -> None:
    """A fault's traceback as Python writes it; structlog's own takes seconds over an application's locals."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            structlog.processors.KeyValueRenderer(key_order=["level", "event"]),
        ]
    )


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """A real Kafka and a real MongoDB."""
    with real_servers.started(tmp_path_factory.mktemp("parts")) as running:
        yield running


@pytest.fixture(scope="session")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSystem]:
    """The whole country, every process of it ready; whoever kills one waits until it is back."""
    with running_system.started(tmp_path_factory.mktemp("country")) as running:
        yield running


@pytest.fixture(scope="session")
def chromium() -> str:
    """The program of a browser; without one a web test is reported as not run, never as passed."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip("not run: there is no browser on this machine")
    return found
