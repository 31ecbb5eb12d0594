"""Tests in this folder name applicants and job fields as briefly as they like."""

from collections.abc import Iterator

import pytest

from tests.support.short_names import short_names


@pytest.fixture(autouse=True)
def short() -> Iterator[None]:
    """Accept short names."""
    with short_names():
        yield
