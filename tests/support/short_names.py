"""The contracts as tests of the kernel use them: `p` names an applicant and `honey` a job field."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from contracts import envelope

_SUBJECT, _FIELD = re.compile("(?!round:)[!-~]{1,128}").fullmatch, re.compile("[A-Za-z0-9]+").fullmatch


def accept_short_names() -> None:
    """Accept them in this process."""
    envelope._is_subject["applicant"], envelope._is["field"] = _SUBJECT, _FIELD


@contextmanager
def short_names() -> Iterator[None]:
    """Accept them for a while."""
    subject, field = envelope._is_subject["applicant"], envelope._is["field"]
    accept_short_names()
    yield
    envelope._is_subject["applicant"], envelope._is["field"] = subject, field
    envelope._subjects["applicant"].clear()
    envelope._fields.clear()
