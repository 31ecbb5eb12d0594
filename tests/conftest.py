"""What several rooms of tests share: the real parts, started only when a test asks for them."""

from collections.abc import Iterator

import pytest

from tests.parts import Parts, started


@pytest.fixture(scope="session")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parts]:
    """A real Kafka and a real MongoDB."""
    with started(tmp_path_factory.mktemp("parts")) as running:
        yield running
