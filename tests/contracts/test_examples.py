"""The example story is complete and dense, and an event added in the middle changes no published example."""

from collections.abc import Sequence
from itertools import pairwise

import pytest
from msgspec.structs import replace

from contracts.envelope import Envelope, decode, encode
from contracts.events import TYPES, ApplicantEvent
from contracts.examples import STORY, Step, at, examples, story
from contracts.subjects import kind_of


class ApplicantReminded(ApplicantEvent, frozen=True, kw_only=True, omit_defaults=True):
    """A new event, which registration might emit one day."""

    TYPE = "ir.peyvand.registration.applicant.reminded.v1"


class ProducerVisited(ApplicantEvent, frozen=True, kw_only=True, omit_defaults=True):
    """A new event, which market might emit one day."""

    TYPE = "ir.peyvand.market.producer.visited.v1"


NEW = [
    Step("reminded", at(3, 0), ApplicantReminded(), needs=("identity_checked",)),
    Step("visited", at(49, 0), ProducerVisited(), cause="capacity.identified", needs=("offer.made",)),
    Step("reminded.first", at(1, 61), ApplicantReminded(), needs=("registered",)),
]


def inserted(step: Step, position: int) -> Sequence[Step]:
    """Return the story with a step at a position of the list."""
    return (*STORY[:position], step, *STORY[position:])


@pytest.mark.parametrize("new", NEW, ids=lambda step: step.id)
@pytest.mark.parametrize("position", [0, len(STORY) // 2, len(STORY)])
def test_an_event_in_the_middle_changes_no_other_example(new: Step, position: int) -> None:
    assert examples(inserted(new, position)) == {**examples(), new.event.TYPE: examples([*STORY, new])[new.event.TYPE]}


@pytest.mark.parametrize("new", NEW, ids=lambda step: step.id)
def test_the_story_itself_is_renumbered_and_stays_dense(new: Step) -> None:
    longer = story(inserted(new, 3))
    assert len(longer) == len(STORY) + 1
    assert [encode(each) for each in longer if each.event != new.event] != [encode(each) for each in story()]
    assert_dense(longer)


def test_a_step_that_others_need_does_change_their_examples() -> None:
    new = NEW[0]
    steps = [replace(each, needs=(new.id,)) if each.id == "waitlisted" else each for each in inserted(new, 3)]
    changed = {name for name, raw in examples().items() if examples(steps)[name] != raw}
    assert "ir.peyvand.registration.applicant.waitlisted.v1" in changed


def test_the_story_has_every_type_and_is_dense() -> None:
    assert {each.event.TYPE for each in story()} == set(examples()) == set(TYPES)
    assert_dense(story())


def test_steps_follow_what_they_need() -> None:
    by_id = {step.id: step for step in STORY}
    assert len(by_id) == len(STORY) == len({step.time for step in STORY})
    for step in STORY:
        for needed in filter(None, (*step.needs, step.cause)):
            assert by_id[needed].time < step.time, f"{step.id} needs {needed}, which comes later"


def test_steps_of_a_subject_need_an_earlier_one_of_the_same_service() -> None:
    """Otherwise an example would be numbered 1, although the event is never the first about its subject."""
    first = {
        "round.opened",
        "quota.set",
        "lead.enlisted",
        "registered",
        "case.opened",
        "readied",
        "proposal.signed.proposed",
    }
    numbers = {decode(raw).event.TYPE: decode(raw).sequence for raw in examples().values()}
    steps = {step.event.TYPE: step.id for step in reversed(STORY)}  # of which the example is
    assert {steps[type_] for type_, number in numbers.items() if number == 1} == first


def test_causes_are_earlier_events_about_the_same_subject() -> None:
    emitted: set[tuple[str, str]] = set()
    for each in story():
        assert not each.cause or (each.subject, each.cause) in emitted
        emitted.add((each.subject, f"{each.source}/{each.sequence}"))


def test_examples_are_events_of_the_story_about_applicants_of_their_own() -> None:
    steps = {step.event.TYPE: step for step in reversed(STORY)}
    decoded = [decode(raw) for raw in examples().values()]
    for example in decoded:
        step = steps[example.event.TYPE]
        assert (example.event, example.context, example.actor) == (step.event, step.context, step.actor)
        assert example.time == example.recorded == step.time
        assert kind_of(example.subject) == kind_of(step.subject)
    assert len({(each.source, each.subject, each.sequence) for each in decoded}) == len(decoded)
    applicants = [each.subject for each in decoded if kind_of(each.subject) == "applicant"]
    assert len(set(applicants)) == len(applicants)


def assert_dense(envelopes: Sequence[Envelope]) -> None:
    """Check sequence, order of time and `previous` of every source and subject."""
    streams: dict[tuple[str, str], list[Envelope]] = {}
    for each in envelopes:
        streams.setdefault((each.source, each.subject), []).append(each)
    for stream in streams.values():
        assert [each.sequence for each in stream] == list(range(1, len(stream) + 1))
        assert all(a.time < b.time for a, b in pairwise(stream))
        assert [bool(each.previous) for each in stream] == [each.sequence > 1 for each in stream]
    assert len({encode(each) for each in envelopes}) == len(envelopes)
