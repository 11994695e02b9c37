"""Tests for features/explaining.py."""

import random
from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from features import explaining, snapshot
from features.errors import (
    FeatureDisabled,
    NoActiveModel,
    NoHistory,
    NoModelAssigned,
    UnknownFeature,
    UnreadableDate,
)
from features.explaining import Question
from features.models import GitLabUser
from gateway import pipeline
from gateway.audit.models import CallerKind
from gateway.calls import Caller
from models_registry.changes import made_by
from tests.factories import (
    FEATURE,
    make_group,
    make_member,
    make_model,
    make_rule,
    open_vendor_route,
)
from tests.features import trees
from tests.gateway.conftest import make_call

pytestmark = pytest.mark.django_db


def ask(**facts):
    return explaining.answer(Question(**{"feature": FEATURE, **facts}))


@pytest.fixture
def company():
    """A tree with a rule for the whole instance and one below, and a user."""
    top = make_group("payments", gitlab_id=7)
    core = make_group("payments/core", gitlab_id=8)
    make_member(core, "42")
    GitLabUser.objects.create(user_ref="42", username="eve")
    with made_by("adam"):
        make_rule(None, model=make_model(name="house"))
        make_rule(top, state="off", is_locked=True)
    return top, core


class TestAnswer:
    def test_says_what_led_to_it(self, company):
        found = ask(user="42")

        assert not found.is_allowed
        assert found.reason == "group 'payments' (locked): off"
        assert found.groups == ("payments/core",)
        (ladder,) = found.ladders
        assert ladder.path == "payments/core"
        assert [(r.level, r.effect) for r in ladder.rungs] == [
            ("instance", "on"),
            ("group 'payments'", "off"),
            ("group 'payments/core'", "off"),
        ]

    @pytest.mark.parametrize(
        ("is_open", "end"), [(True, "leaves for the vendor"), (False, "is refused")]
    )
    def test_says_where_a_call_goes_that_names_no_model(self, settings, is_open, end):
        settings.GATEWAY_VENDOR_ROUTE_URL = "https://vendor.example" if is_open else ""
        open_vendor_route()
        make_rule(None)

        assert ask().model == f"the model that GitLab names; a call that names none {end}"

    def test_says_who_made_a_rule_and_when(self, company):
        (ladder,) = ask(user="42").ladders

        assert [rung.author.partition(",")[0] for rung in ladder.rungs] == ["adam", "adam", ""]

    @pytest.mark.parametrize("user", ["42", "eve", " eve "])
    def test_finds_a_user_by_id_or_name(self, company, user):
        assert ask(user=user).groups == ("payments/core",)

    @pytest.mark.parametrize("user", ["nobody", "99", "a\0b", "%"])
    def test_says_that_it_knows_no_group_of_a_user(self, company, user):
        found = ask(user=user)

        assert found.is_allowed
        assert found.notes[0].startswith("No group is known")

    @pytest.mark.parametrize(
        ("place", "note"),
        [
            ("payments/core", None),
            ("8", None),
            ("/payments/core/", None),
            ("payments/core/app", "'payments/core/app' lies in group 'payments/core'."),
            ("payments/core/a/b", "'payments/core/a/b' lies in group 'payments/core'."),
        ],
    )
    def test_finds_the_group_of_a_place(self, company, place, note):
        found = ask(place=place)

        assert found.groups == ("payments/core",)
        assert found.notes == ((note,) if note else ())

    @pytest.mark.parametrize("place", ["elsewhere/app", "999", "9" * 40, "payment"])
    def test_says_that_it_knows_no_group_of_a_place(self, company, place):
        found = ask(place=place)

        assert found.groups == ()
        assert found.notes[0].startswith("No group is known that")

    def test_says_that_no_header_can_name_a_group(self, company):
        make_group("by-hand")

        assert "only an API key can stand for it" in ask(place="by-hand").notes[0]

    def test_says_which_model_serves(self, company):
        assert ask().model == "'house' (instance), unless the call names another"
        assert ask(user="42").model == ""

    def test_says_that_gitlab_chooses_where_no_rule_does(self):
        make_rule(None)

        assert ask().model.startswith("the model that GitLab names")

    def test_says_that_a_call_is_refused_although_it_is_allowed(self):
        make_rule(None, model=make_model(name="old", state="disabled"))

        assert ask().trouble == "Model 'old' is disabled."

    def test_knows_only_the_catalog(self):
        with pytest.raises(UnknownFeature):
            ask(feature="telepathy")

    def test_goes_back_to_a_past_day(self, company):
        top, _ = company
        at = timezone.now()
        with made_by("eve"):
            top.rules.all().delete()
            make_rule(top, state="on")

        then, now = ask(user="42", at=at), ask(user="42")

        assert (then.is_allowed, now.is_allowed) == (False, True)
        assert then.config_version < now.config_version
        assert "adam" in then.ladders[0].rungs[1].author
        assert "eve" in now.ladders[0].rungs[1].author

    def test_says_so_where_nothing_is_on_record(self, company):
        with pytest.raises(NoHistory):
            ask(at=timezone.now() - timedelta(days=4000))

    def test_costs_three_queries(self, company, django_assert_num_queries):
        snapshot.refresh()

        with django_assert_num_queries(3):
            ask(user="eve", place="payments/core/app")


class TestMoment:
    @pytest.mark.parametrize(
        ("text", "at"),
        [
            ("2026-03-31", datetime(2026, 3, 31, 23, 59, 59, 999999, tzinfo=UTC)),
            ("2026-03-31T14:00", datetime(2026, 3, 31, 14, tzinfo=UTC)),
            ("2026-03-31T14:00+02:00", datetime(2026, 3, 31, 12, tzinfo=UTC)),
            ("", None),
        ],
    )
    def test_reads_a_day_or_a_moment(self, text, at, monkeypatch):
        later = datetime(2027, 1, 1, tzinfo=UTC)
        monkeypatch.setattr(explaining.timezone, "now", lambda: later)

        assert explaining.moment(text) == at

    def test_means_now_by_today(self):
        today = f"{timezone.now():%Y-%m-%d}"

        assert explaining.moment(today) <= timezone.now()

    @pytest.mark.parametrize("text", ["yesterday", "2026-02-30", "31.03.2026", "\0"])
    def test_refuses_what_is_no_date(self, text):
        with pytest.raises(UnreadableDate):
            explaining.moment(text)


def enforced(config, *, user, group, feature):
    """Return what happens to a call that GitLab signs, as its headers name user and project."""
    names = (group.gitlab_id, config.groups[group.lineage[0]].gitlab_id) if group else ()
    caller = Caller(
        kind=CallerKind.INSTANCE,
        user_id=user,
        global_user_id="hash-of-" + user,
        namespace_ids=tuple(name for name in names if name is not None),
    )
    call = make_call(feature=feature, caller=caller)
    try:
        decision = pipeline.decide(call, config)
        model = pipeline.choose_model(call, config, decision)
    except FeatureDisabled as refusal:
        return "off", str(refusal), ""
    except (NoModelAssigned, NoActiveModel) as refusal:
        return "on, refused", decision.reason, str(refusal)
    return "on", decision.reason, model.name


def explained(config, *, user, group, feature):
    """Return what an administrator reads who asks about the same call."""
    found = explaining.explain(
        Question(feature=feature, user=user, place=f"{group.path}/app" if group else ""), config
    )
    if not found.is_allowed:
        return "off", found.reason, ""
    if found.trouble:
        return "on, refused", found.reason, found.trouble
    if found.model.startswith("the model that GitLab names"):
        return "on, refused", found.reason, NO_MODEL
    return "on", found.reason, found.model.split("'")[1]


NO_MODEL = (
    "The feature is on, but no rule assigns a model to it, the call names none, and the vendor"
    " route (GATEWAY_VENDOR_ROUTE_URL, and its switch in the admin) is off."
)


class TestExplanationAndEnforcement:
    def test_agree_in_10000_random_cases(self):
        rng = random.Random(7)
        outcomes = set()
        for number in range(10_000):
            if number % 20 == 0:
                config = trees.random_config(rng)
            # Without a GitLab id no header can name a group.
            named = [g for g in config.groups.values() if g.gitlab_id is not None]
            case = {
                "user": rng.choice([*trees.USERS, "stranger"]),
                "group": rng.choice([None, *named]),
                "feature": rng.choice(trees.SLUGS),
            }

            said, done = explained(config, **case), enforced(config, **case)

            assert said == done, (number, case)
            outcomes.add(done[0])

        assert outcomes == {"on", "off", "on, refused"}
