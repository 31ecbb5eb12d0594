"""Tests in this folder name applicants and job fields as briefly as they like."""

import pytest


@pytest.fixture(autouse=True)
def short(accepted_short_names: None) -> None:
    """Accept short names."""
