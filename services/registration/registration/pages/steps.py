"""The steps of the form, one page each. Fields and order follow from `application.FIELDS`."""

import msgspec

from contracts.codes import Label
from registration.domain.application import FIELDS, Answers, Field
from registration.pages.texts import TEXTS, StepTexts


class Step(msgspec.Struct, frozen=True):
    """One page of the form."""

    slug: str
    fields: tuple[Field, ...]
    texts: StepTexts

    @property
    def label(self) -> Label:
        """Return the name of the step."""
        return self.texts.label or self.fields[0].label

    def answered(self, answers: Answers) -> bool:
        """Return whether every field has an answer."""
        return all(answers.get(field.name) for field in self.fields)


STEPS = tuple(
    Step(slug, tuple(field for field in FIELDS if field.step == slug), TEXTS[slug])
    for slug in dict.fromkeys(field.step for field in FIELDS if field.step)
)


def position(slug: str) -> int | None:
    """Return the position of a step, from 0; None if there is no such step."""
    return next((n for n, step in enumerate(STEPS) if step.slug == slug), None)


def first_unanswered(answers: Answers) -> Step | None:
    """Return the first step without an answer."""
    return next((step for step in STEPS if not step.answered(answers)), None)
