"""The questions of the form, one a page, in their order."""

import msgspec

from registration.api.drafts import Answers


class Step(msgspec.Struct, frozen=True):
    """One question; `names` are the answers it asks for."""

    slug: str
    names: tuple[str, ...]
    fa: str
    en: str


STEPS = (
    Step("province", ("province",), "استان", "Province"),
    Step("county", ("county",), "شهرستان", "County"),
    Step("national-id", ("national_id",), "کد ملی", "National ID"),
    Step("name", ("first_name", "last_name"), "نام", "Name"),
    Step("birth-date", ("birth_date",), "تاریخ تولد", "Date of birth"),
    Step("sex", ("sex",), "جنسیت", "Sex"),
    Step("mobile", ("mobile",), "تلفن همراه", "Mobile"),
    Step("field", ("field",), "چه می‌سازید", "What you make"),
    Step("work-mode", ("work_mode",), "تنها یا گروهی", "Alone or with others"),
)


def position(slug: str) -> int | None:
    """Which question this is, from 0."""
    return next((n for n, step in enumerate(STEPS) if step.slug == slug), None)


def step_of(name: str) -> Step:
    """The question that asks for this answer."""
    return next(step for step in STEPS if name in step.names)


def unanswered(answers: Answers) -> Step | None:
    """The first question without an answer."""
    return next((step for step in STEPS if any(not answers.get(name) for name in step.names)), None)
