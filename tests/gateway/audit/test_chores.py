"""Promises of gateway/audit/chores.py."""

from datetime import timedelta

import pytest
from django.utils import timezone

from gateway.audit import chores, models
from gateway.audit.chores import Chore, Trouble, do_some
from gateway.audit.settled import Look
from tests.rig.processes import wait_until

NOW = timezone.now()
REACHED = NOW - timedelta(minutes=1)


class Steps:
    """A chore that says what it was asked, and does what the test says."""

    def __init__(self, *looks):
        self.looks = list(looks)
        self.asked = []
        self.chore = Chore(name="test", step=self)

    def __call__(self, reached, now):
        self.asked.append(reached)
        look = self.looks.pop(0) if self.looks else Look(todo=(), reached=now, is_behind=False)
        if isinstance(look, Exception):
            raise look
        return look


def look(reached=REACHED, *, is_behind=False):
    return Look(todo=(), reached=reached, is_behind=is_behind)


def row():
    return models.Chore.objects.get(pk="test")


@pytest.mark.django_db
class TestDoSome:
    def test_goes_on_where_the_last_step_ended_whoever_did_it(self):
        steps = Steps(look())
        do_some(steps.chore, "a", now=NOW)
        chores.let_go("test", "a")

        do_some(steps.chore, "b", now=NOW)

        assert steps.asked == [None, REACHED]
        assert row().holder == "b"

    def test_leaves_the_chore_to_whoever_has_it(self):
        steps = Steps()
        do_some(steps.chore, "a", now=NOW)

        assert do_some(steps.chore, "b", now=NOW) is False
        assert len(steps.asked) == 1

    def test_takes_over_when_the_lease_is_over(self, settings):
        steps = Steps()
        do_some(steps.chore, "a", now=NOW)

        later = NOW + timedelta(seconds=settings.GATEWAY_LEASE_S + 1)
        do_some(steps.chore, "b", now=later)

        assert row().holder == "b"

    def test_renews_its_lease_while_it_lives(self, settings):
        steps = Steps()
        for seconds in range(0, 60, 5):
            do_some(steps.chore, "a", now=NOW + timedelta(seconds=seconds))
            do_some(steps.chore, "b", now=NOW + timedelta(seconds=seconds))

        assert row().holder == "a"
        assert len(steps.asked) == 12

    def test_tells_whether_there_is_more_to_do(self):
        steps = Steps(look(is_behind=True), look())

        assert do_some(steps.chore, "a", now=NOW) is True
        assert row().is_behind
        assert do_some(steps.chore, "a", now=NOW) is False
        assert not row().is_behind

    def test_keeps_its_place_in_trouble_and_says_why(self):
        steps = Steps(look(), Trouble("The receiver is away."), look())
        do_some(steps.chore, "a", now=NOW)

        do_some(steps.chore, "a", now=NOW)
        in_trouble = row()
        do_some(steps.chore, "a", now=NOW)

        assert in_trouble.trouble == "The receiver is away."
        assert (in_trouble.reached, in_trouble.is_behind) == (REACHED, True)
        assert row().trouble == ""

    def test_writes_nothing_over_what_a_successor_wrote(self):
        steps = Steps(look())

        def taken_over(reached, now):
            models.Chore.objects.update(holder="b", reached=NOW)
            return look()

        do_some(Chore(name="test", step=taken_over), "a", now=NOW)

        assert (row().holder, row().reached) == ("b", NOW)
        assert steps.asked == []


class TestLoop:
    def test_does_the_chore_until_it_is_stopped_and_leaves_it_free(
        self, transactional_db, monkeypatch
    ):
        monkeypatch.setattr(chores, "LOOK_EVERY_S", 0.01)
        steps = Steps(look(is_behind=True), ValueError("a bug"), Trouble("away"))

        chores.start("a", [steps.chore])
        wait_until(lambda: len(steps.asked) > 5, within_s=5, what="steps")
        chores.stop()
        done = len(steps.asked)

        assert row().held_until is None
        assert chores._running == []
        assert len(steps.asked) == done

    def test_of_two_processes_one_does_it(self, transactional_db, monkeypatch):
        monkeypatch.setattr(chores, "LOOK_EVERY_S", 0.01)
        one, two = Steps(), Steps()

        chores.start("a", [one.chore])
        wait_until(lambda: len(one.asked) > 1, within_s=5, what="the first")
        chores.start("b", [two.chore])
        wait_until(lambda: len(one.asked) > 9, within_s=5, what="more of the first")
        # Whoever stops lets go, and the other may come in before it stops too.
        done_by_two = list(two.asked)
        chores.stop()

        assert done_by_two == []
