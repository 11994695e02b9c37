"""Promises of POST /v2/chat/agent: its events to the byte, who may ask, and what a failure is."""

import json
from contextlib import closing

import pytest

from features import snapshot
from features.react import FinalAnswer
from gateway.api import errors
from gateway.api.chat_turns import UnusableConversation
from gateway.api.v2 import chat_agent
from gateway.api.wire import BodyTooLarge
from gateway.audit import store
from gateway.audit.models import ContentKind, InferenceContent, InferenceRecord
from gateway.calls import Ending
from gateway.errors import ReplyTimedOut, StreamBroken, WorkerLost
from gateway.frames import Broken
from tests.factories import make_api_key, make_group, make_model, make_rule
from tests.gateway.api.conftest import post, send, start
from tests.gateway.audit.test_writer import BrokenStore
from tests.gateway.conftest import answer_on_record, closed_record
from tests.rig.backend import REACT_ANSWER, TEXT

PATH = "/v2/chat/agent"
QUESTION = "How do I add two numbers in Python?"
STEP = {
    "action": {"type": "action", "thought": "I need it", "tool": "issue_reader", "tool_input": "1"},
    "observation": "Issue 1: title",
}
CLASSIC = [
    "duo_classic_chat",
    "duo_chat",
    *(f"ask_{kind}" for kind in ("issue", "epic", "work_item", "merge_request", "commit", "build")),
    "documentation_search",
]


def user(content=QUESTION, **more):
    return {"role": "user", "content": content, **more}


def running(*steps):
    return {"role": "assistant", "content": None, "agent_scratchpad": list(steps)}


def events(body):
    """Return the events of an answer: every line is one, and ends."""
    lines = body.decode().split("\n")
    assert lines.pop() == ""
    return [json.loads(line) for line in lines]


def shown(body):
    """Return what GitLab shows of a final answer."""
    texts = [e["data"]["text"] for e in events(body) if e["type"] == "final_answer_delta"]
    return "".join(texts)


def error(message, *, retryable=False):
    return {"type": "error", "data": {"message": message, "retryable": retryable}}


def usage(name):
    """Return the last line, tokens masked."""
    return f'{{"type": "usage", "data": {{"usage": {{"{name}": '


@pytest.fixture
def chat_is_on(embedded):
    """The chat for everyone, and no model assigned."""
    make_rule(feature="duo_chat")
    snapshot.refresh()


@pytest.fixture
def body(metadata):
    """A function that returns a body as GitLab sends it; None takes a key out of it."""

    def of(*messages, model="stub", **changes):
        usual = {
            "messages": [*messages] or [user()],
            "unavailable_resources": ["Pipelines", "Vulnerabilities"],
            "model_metadata": metadata(model, name="general"),
        }
        return {key: value for key, value in {**usual, **changes}.items() if value is not None}

    return of


@pytest.fixture
def agent(trusted, chat_is_on, body):
    """A function that sends messages as GitLab does and returns the answer."""

    def send(*messages, headers=None, **changes):
        return post(PATH, body(*messages, **changes), headers=headers or trusted.headers())

    return send


@pytest.fixture
def broken(trusted, chat_is_on, body):
    """A function that sends a question and returns what came until the connection was cut."""

    def send(*messages, **changes):
        value = body(*messages, **changes)
        started = start("POST", PATH, value=value, headers=trusted.headers())
        got = []
        with closing(started.pieces), pytest.raises(StreamBroken):
            got.extend(started.pieces)
        return started.reply, b"".join(got)

    return send


@pytest.fixture
def sent(agent, backend):
    """A function that sends messages and returns what the model was sent."""

    def send(*messages, **changes):
        assert agent(*messages, **changes).status == 200
        return backend.calls[-1].body

    return send


class TestEvents:
    """Examples of gateway-api.md 6.4; the recordings are replayed in tests/contract."""

    def test_of_a_final_answer_are_its_pieces_its_end_and_the_usage(self, agent, backend):
        backend.answer("two", "I know.\nFinal Answer:", " hello w", "é.", "\n")

        reply = agent(model="two")

        assert reply.status == 200
        assert reply.headers["content-type"] == "application/x-ndjson; charset=utf-8"
        assert reply.headers["x-accel-buffering"] == "no"
        lines = reply.body.decode().splitlines(keepends=True)
        assert lines[:-1] == [
            '{"type": "final_answer_delta", "data": {"text": "hello w", "finish_reason": null}}\n',
            '{"type": "final_answer_delta", "data": {"text": "\\u00e9.", "finish_reason": null}}\n',
            '{"type": "final_answer_delta", "data": {"text": "", "finish_reason": "stop"}}\n',
        ]
        assert lines[-1].startswith(usage("two") + '{"input_tokens": ')
        assert lines[-1].endswith(', "output_tokens": 4}}}}\n')

    def test_of_an_action_are_one_line_and_the_usage(self, agent):
        reply = agent(model="react-action")

        action, last = reply.body.decode().splitlines(keepends=True)
        assert action == (
            '{"type": "action", "data": {"tool": "issue_reader", "tool_input": "#42", '
            '"thought": "I need the issue"}}\n'
        )
        assert last.startswith(usage("react-action"))

    def test_of_plain_text_are_one_line_and_the_usage(self, agent, backend):
        backend.answer("plain", "\nNo idea,", " plain.\n")

        line, last = agent(model="plain").body.decode().splitlines(keepends=True)

        assert line == '{"type": "unknown", "data": {"text": "No idea, plain."}}\n'
        assert last.startswith(usage("plain"))

    @pytest.mark.parametrize("tool", ["nobody_reader", "epic_reader"])
    def test_of_a_tool_that_is_not_offered_are_an_error_and_a_clean_end(
        self, agent, backend, trusted, tool
    ):
        backend.answer("tool", f"I need it.\nAction: {tool}\nAction Input: 1")
        scopes = [scope for scope in CLASSIC if scope != "ask_epic"]

        reply = agent(model="tool", headers=trusted.headers(trusted.token(scopes=scopes)))

        first, last = events(reply.body)
        assert first == error("tool not available")
        assert last["type"] == "usage"

    @pytest.mark.parametrize(
        "tokens", [(), ("\n", " "), ("Thought:",), ("Fine.\nFinal Answer:", " \n")]
    )
    def test_of_an_empty_turn_are_never_none(self, agent, backend, tokens):
        backend.answer("nothing", *tokens)

        first, last = events(agent(model="nothing").body)

        assert first == error("The model said nothing.")
        assert last["type"] == "usage"

    @pytest.mark.parametrize("reason", ["stop", "length", None])
    def test_say_why_an_answer_ended(self, reason):
        ended = Ending(prompt_tokens=1, completion_tokens=1, finish_reason=reason)

        event = chat_agent._outcome(FinalAnswer(), (), ended)

        assert json.loads(event)["data"] == {"text": "", "finish_reason": reason}

    def test_hold_no_reasoning(self, agent):
        reply = agent(model="think")

        assert shown(reply.body) == TEXT
        assert "let me" not in reply.body.decode()

    def test_never_break_a_line_inside_an_event(self, agent, backend):
        backend.answer("lines", "Final Answer: a\n", "b\u2028", '"c"\r\n', "\u0085d")

        assert shown(agent(model="lines").body) == 'a\nb\u2028"c"\r\n\u0085d'

    def test_estimate_the_usage_that_the_backend_does_not_report(self, agent):
        (tokens,) = events(agent(model="nousage").body)[-1]["data"]["usage"].values()

        assert tokens["input_tokens"] > 300
        assert 10 < tokens["output_tokens"] < 40


class TestRecord:
    def test_holds_all_that_was_asked_and_the_models_own_words(self, agent):
        agent(user("1"), {"role": "assistant", "content": "2"}, user("3"), running(STEP))

        row = InferenceRecord.objects.get()
        content = InferenceContent.objects.get(record_id=row.pk, kind=ContentKind.REQUEST)
        request = json.loads(content.body)
        assert (row.state, row.feature, row.is_streamed) == ("answered", "duo_chat", True)
        assert (row.endpoint, row.prompt_version) == (PATH, "built-in/chat_react/default@1.0.0")
        assert [m["content"] for m in request["prompt"]["messages"][1:]] == [
            "1",
            "Final Answer: 2",
            "3",
            "Thought: I need it\nAction: issue_reader\nAction Input: 1",
            "Observation: Issue 1: title",
        ]
        assert request["inputs"].keys() == {"current_date", "tools", "unavailable_resources"}
        assert answer_on_record() == "".join(REACT_ANSWER) + TEXT

    def test_says_how_much_of_the_conversation_was_left_out(self, agent, trusted, backend):
        small = make_model(
            endpoint=backend.endpoint, identifier="house", family="general", context_window=3000
        )
        group = make_group(gitlab_id=7)
        make_rule(group, feature="duo_chat", model=small)
        snapshot.refresh()
        history = [user("a" * 3000), {"role": "assistant", "content": "b" * 3000}]

        agent(*history, user("3"), headers=trusted.headers(x_gitlab_namespace_id="7"))

        content = InferenceContent.objects.get(kind=ContentKind.REQUEST)
        size = 6000 + len("Final Answer: ")
        assert json.loads(content.body)["cut"] == {"history": {"kept": 0, "of": size}}
        assert [m["role"] for m in backend.calls[0].body["messages"]] == ["system", "user"]

    def test_holds_what_was_delivered_of_an_answer_that_broke_off(self, broken):
        _, got = broken(model="cut-midstream")

        *deltas, failure = events(got)
        row = closed_record()
        assert (row.state, row.error_code) == ("failed", "malformed_reply")
        text = "".join(delta["data"]["text"] for delta in deltas)
        assert answer_on_record().removeprefix("".join(REACT_ANSWER)) == text
        assert failure["type"] == "error"

    def test_is_never_shorter_than_what_a_client_got_that_left(
        self, trusted, chat_is_on, body, backend
    ):
        value = body(model="slow-50ms_tokens-60")
        started = start("POST", PATH, value=value, headers=trusted.headers())
        pieces = iter(started.pieces)
        got = next(pieces) + next(pieces)

        started.pieces.close()

        row = closed_record()
        assert (row.state, row.error_code) == ("cancelled", "client_left")
        assert answer_on_record().endswith(shown(got))
        assert backend.wait_for_departure(within_s=2).tokens_sent < 60

    def test_is_made_of_a_refusal(self, embedded, trusted, body):
        snapshot.refresh()

        reply = post(PATH, body(), headers=trusted.headers())

        row = InferenceRecord.objects.get()
        assert (reply.status, reply.json["code"]) == (403, "feature_disabled")
        assert (row.state, row.feature) == ("refused", "duo_chat")


class TestConversation:
    def test_goes_to_the_model_as_a_chat_that_ends_with_the_user(self, sent):
        messages = sent(user(), running(STEP))["messages"]

        assert [m["role"] for m in messages] == ["system", "user", "assistant", "user"]
        assert messages[1]["content"] == QUESTION
        assert messages[-1]["content"] == "Observation: Issue 1: title"

    def test_takes_the_steps_from_their_older_place_first(self, sent):
        old = {"thought": "t", "tool": "epic_reader", "tool_input": "&5", "observation": "Epic 5"}
        options = {"agent_scratchpad": {"agent_type": "react", "steps": [old]}}

        messages = sent(user(), running(STEP), options=options)["messages"]

        assert [m["content"] for m in messages[2:]] == [
            "Thought: t\nAction: epic_reader\nAction Input: &5",
            "Observation: Epic 5",
        ]

    def test_takes_no_step_where_the_older_place_is_empty(self, sent):
        options = {"agent_scratchpad": {"agent_type": "react", "steps": []}}

        assert len(sent(user(), options=options)["messages"]) == 2

    @pytest.mark.parametrize("history", ["User: a\nAI: b", ["User: a", "AI: b"]])
    def test_takes_the_oldest_shape(self, sent, history):
        page = {"type": "issue", "content": "It is slow."}
        options = {
            "chat_history": history,
            "context": page,
            "agent_scratchpad": {"agent_type": "react", "steps": []},
        }

        _, question = sent(prompt="Why?", options=options, messages=None)["messages"]

        assert question["content"] == (
            "<page>\nThe user looks at this issue.\nIt is slow.\n</page>\n\n"
            "<additional_context>\nconversation\nUser: a\nAI: b\n</additional_context>\n\nWhy?"
        )

    def test_opens_the_turn_only_for_a_model_that_continues_it(self, agent, backend, trusted):
        model = make_model(
            endpoint=backend.endpoint, identifier="house", family="general", takes_prefill=True
        )
        make_rule(make_group(gitlab_id=7), feature="duo_chat", model=model)
        snapshot.refresh()

        reply = agent(user(), running(STEP), headers=trusted.headers(x_gitlab_namespace_id="7"))

        sent = backend.calls[0].body
        roles = ["system", "user", "assistant", "user", "assistant"]
        assert [m["role"] for m in sent["messages"]] == roles
        assert sent["messages"][-1]["content"] == "Thought:"
        assert (sent["continue_final_message"], sent["add_generation_prompt"]) == (True, False)
        assert shown(reply.body) == TEXT

    def test_has_no_system_message_where_the_family_has_none(self, sent, metadata):
        messages = sent(
            user("1"),
            {"role": "assistant", "content": "2"},
            user("3"),
            model_metadata=metadata(name="codegemma"),
        )["messages"]

        assert [m["role"] for m in messages] == ["user", "assistant", "user"]
        assert messages[0]["content"].endswith("\n\n1")

    @pytest.mark.parametrize(
        ("family", "identifier", "parameters"),
        [
            ("general", "stub", {"max_tokens": 8192, "temperature": 0.1, "stop": ["Observation:"]}),
            ("llama3", "stub", {"max_tokens": 4096, "temperature": 0.1, "stop": ["Observation:"]}),
            ("gpt", "stub", {"max_tokens": 8192}),
            ("gpt", "gpt-5-mini", {"max_completion_tokens": 8192}),
        ],
    )
    def test_is_sent_with_the_familys_parameters(
        self, sent, metadata, family, identifier, parameters
    ):
        body = sent(model_metadata=metadata(identifier, name=family))

        fixed = {"model", "messages", "stream", "stream_options"}
        assert {key: value for key, value in body.items() if key not in fixed} == parameters

    @pytest.mark.parametrize(
        ("given", "said"),
        [
            (["Pipelines", "Vulnerabilities"], "Pipelines, Vulnerabilities."),
            (None, "pipelines, vulnerabilities."),
            ([], "."),
        ],
    )
    def test_names_what_cannot_be_read(self, sent, given, said):
        system = sent(unavailable_resources=given)["messages"][0]["content"]

        assert f"You cannot read: {said}" in system


class TestTools:
    def system(self, sent, trusted, scopes=CLASSIC, version="18.9.0"):
        headers = trusted.headers(trusted.token(scopes=scopes), x_gitlab_version=version)
        return sent(headers=headers)["messages"][0]["content"]

    def test_are_offered_by_scope(self, sent, trusted):
        system = self.system(sent, trusted, ["duo_classic_chat", "ask_issue"])

        assert "- issue_reader reads" in system
        assert "epic_reader" not in system
        assert "You cannot read: Pipelines, Vulnerabilities, epics, work items, " in system

    @pytest.mark.parametrize(
        ("version", "is_offered"),
        [
            ("18.9.0", True),
            ("17.5.0-pre", True),
            ("17.10.1-ee", True),
            ("17.4.9", False),
            ("17.0.0", False),
            (None, False),
            ("", False),
            ("v18", False),
            ("999999999999.1", False),
        ],
    )
    def test_are_offered_by_version(self, sent, trusted, version, is_offered):
        system = self.system(sent, trusted, version=version)

        assert ("merge_request_reader" in system) == is_offered
        assert "issue_reader" in system

    def test_are_all_offered_to_an_api_key(self, agent, backend):
        house = make_model(endpoint=backend.endpoint, identifier="house", family="general")
        group = make_group()
        make_rule(group, feature="duo_chat", model=house)
        _, key = make_api_key(group)
        snapshot.refresh()
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}

        reply = agent(headers={**headers, "X-Gitlab-Version": "18.9.0"})

        assert (reply.status, shown(reply.body)) == (200, TEXT)
        assert "build_reader" in backend.calls[0].body["messages"][0]["content"]


class TestModel:
    @pytest.mark.parametrize("named", [None, {"provider": "gitlab", "identifier": "claude"}])
    def test_is_the_assigned_one_where_none_is_named(self, trusted, embedded, body, backend, named):
        house = make_model(endpoint=backend.endpoint, identifier="house", family="general")
        make_rule(feature="duo_chat", model=house)
        snapshot.refresh()

        reply = post(PATH, {**body(), "model_metadata": named}, headers=trusted.headers())

        assert shown(reply.body) == TEXT
        assert backend.calls[0].model == "house"

    def test_is_missing_where_neither_names_one(self, trusted, chat_is_on, body):
        reply = post(PATH, {**body(), "model_metadata": None}, headers=trusted.headers())

        assert (reply.status, reply.json["code"]) == (503, "no_model_assigned")


class TestAuthorization:
    @pytest.fixture
    def asked(self, agent, trusted):
        """Send a question with some scopes and return status and detail."""

        def send(scopes, *messages, version="18.9.0"):
            headers = trusted.headers(trusted.token(scopes=scopes), x_gitlab_version=version)
            reply = agent(*messages, headers=headers)
            return reply.status, reply.json["detail"] if reply.status != 200 else ""

        return send

    def test_needs_credentials_before_anything_else(self, embedded):
        assert post(PATH, "x").status == 401

    def test_needs_a_scope_for_chat(self, asked):
        assert asked(["complete_code"]) == (403, "Unauthorized to access duo chat")

    def test_needs_the_scope_of_this_chat(self, asked):
        # Recording auth-scope-chat-core.
        detail = "Duo Core no longer authorized to access Duo Classic Chat"
        assert asked(["duo_chat"]) == (403, detail)

    @pytest.mark.parametrize(
        ("messages", "status"),
        [
            ([user("@GitLabDuo please")], 200),
            ([user("@GitLabDuo please"), running(STEP)], 200),
            ([user("@GitLabDuo"), {"role": "assistant", "content": "a"}, user("b")], 403),
            ([user("b"), {"role": "assistant", "content": "@GitLabDuo"}, user("b")], 403),
        ],
    )
    def test_takes_the_older_scope_of_somebody_who_mentions_duo(self, asked, messages, status):
        assert asked(["duo_chat"], *messages)[0] == status

    @pytest.mark.parametrize(
        ("version", "status"), [("17.1.0", 200), ("18.8.4", 200), ("18.9.0", 403), (None, 403)]
    )
    def test_takes_the_older_scope_of_an_older_gitlab(self, asked, version, status):
        assert asked(["duo_chat"], version=version)[0] == status

    @pytest.mark.parametrize("category", ["file", "issue", "merge_request", "local_git"])
    def test_needs_a_scope_for_what_was_added(self, asked, category):
        added = user(additional_context=[{"category": category, "id": "1", "content": "c"}])
        scope = f"include_{category}_context"

        assert asked(CLASSIC, added) == (403, f"Unauthorized to access {scope}")
        assert asked([*CLASSIC, scope], added)[0] == 200

    def test_needs_it_for_what_was_added_earlier_too(self, asked):
        added = user(additional_context=[{"category": "issue"}])

        status, _ = asked(CLASSIC, added, {"role": "assistant", "content": "a"}, user("b"))

        assert status == 403

    @pytest.mark.parametrize(
        "category", ["os_information", "agent_user_environment", "user_rule", "of_tomorrow"]
    )
    def test_needs_none_for_categories_that_have_none(self, asked, category):
        added = user(additional_context=[{"category": category, "content": "c"}])

        assert asked(CLASSIC, added)[0] == 200


class TestFailures:
    """GitLab's user is told by an event what a status would hide (gitlab-client.md 1.11)."""

    @pytest.mark.parametrize(
        ("model", "code", "is_retryable"),
        [
            ("err-400", "backend_rejected", False),
            ("err-401", "backend_auth", False),
            ("err-404", "backend_not_found", False),
            ("err-429", "backend_rate_limited", True),
            ("err-500", "backend_failed", True),
            ("refuse", "backend_unreachable", True),
            ("garbage", "malformed_reply", False),
        ],
    )
    def test_of_the_model_are_one_event_and_a_cut(self, broken, model, code, is_retryable):
        reply, got = broken(model=model)

        row = closed_record()
        assert (reply.status, row.error_code) == (200, code)
        assert reply.headers["content-type"] == "application/x-ndjson; charset=utf-8"
        assert events(got) == [error(row.error_detail, retryable=is_retryable)]

    def test_of_the_window_are_told_in_the_words_that_gitlab_looks_for(self, broken):
        _, got = broken(model="toolong")

        assert events(got) == [error("prompt is too long (context_too_long)")]
        assert closed_record().error_code == "context_too_long"

    def test_of_an_address_that_cannot_be_used_are_events_too(self, broken, metadata):
        _, got = broken(model_metadata=metadata(endpoint="ftp://127.0.0.1/v1"))

        assert "unusable model" in events(got)[0]["data"]["message"]
        assert closed_record().error_code == "model_misconfigured"

    @pytest.mark.parametrize(
        ("size", "code"), [(1_100_000, "prompt_too_large"), (2_100_000, "body_too_large")]
    )
    def test_of_our_own_limits_are_told_so_too(self, broken, backend, size, code):
        _, got = broken(user("x" * size))

        assert events(got) == [error(f"prompt is too long ({code})")]
        assert not backend.calls

    @pytest.mark.parametrize(
        ("fault", "is_retryable"), [(WorkerLost(), True), (ReplyTimedOut(), False)]
    )
    def test_of_the_way_to_the_model_are_events_too(self, embedded, broken, fault, is_retryable):
        def fail_instead(record_ids):
            for record_id in record_ids:
                embedded.waiters.deliver(record_id, Broken(error=fault))

        embedded.send = fail_instead

        _, got = broken()

        assert events(got) == [error(str(fault), retryable=is_retryable)]
        assert closed_record().error_code == fault.code

    def test_in_time_are_told_before_gitlab_gives_up(self, broken, settings):
        settings.GATEWAY_PROMPT_DEADLINE_S = 0.5

        _, got = broken(model="hang-5")

        assert events(got) == [error(closed_record().error_detail)]
        assert closed_record().error_code == "backend_timed_out"

    @pytest.mark.parametrize("model", ["cut-midstream", "err-midstream"])
    def test_after_the_first_piece_are_not_to_be_retried(self, broken, model):
        _, got = broken(model=model)

        *deltas, failure = events(got)
        assert "".join(delta["data"]["text"] for delta in deltas)
        assert all(delta["data"]["finish_reason"] is None for delta in deltas)
        assert failure == error(closed_record().error_detail)

    def test_in_a_thought_may_be_retried_where_it_may_help(self, broken, backend):
        backend.answer("err-midstream", "I need it.", "\nAction: ", "issue_reader", "\n")

        _, got = broken(model="err-midstream")

        assert events(got) == [error(closed_record().error_detail, retryable=True)]
        assert closed_record().error_code == "backend_failed"

    @pytest.mark.parametrize(
        ("messages", "message"),
        [
            ([user(), {"role": "assistant", "content": "done"}], "Last message must be a human"),
            ([{"role": "system", "content": "x"}, user()], "Unsupported message"),
        ],
    )
    def test_of_a_conversation_are_events_too(self, broken, backend, messages, message):
        # Recording v2chat-last-assistant.
        _, got = broken(*messages)

        (event,) = events(got)
        assert event["data"]["message"].startswith(message)
        assert not event["data"]["retryable"]
        assert not backend.calls

    def test_of_the_log_are_a_503_that_a_load_balancer_reads(self, agent, monkeypatch, backend):
        monkeypatch.setattr(store, "for_connection", BrokenStore)

        reply = agent()

        assert (reply.status, reply.json["code"]) == (503, "audit_unavailable")
        assert not backend.calls

    def test_hold_no_key_no_address_and_no_text_of_the_backend(self, broken, backend):
        texts = [broken(model=model)[1].decode() for model in ("err-400", "err-500", "garbage")]

        seen = "".join(texts)
        assert "sk-canary-key" not in seen
        assert str(backend.port) not in seen
        assert "script says" not in seen

    def test_that_are_told_by_an_event_are_ones_that_there_are(self):
        ours = {UnusableConversation.code, BodyTooLarge.code}

        assert chat_agent.FAILURES.keys() <= errors.STATUS.keys() | ours


class TestBodies:
    """A body that does not fit is said to be so; none is a 500."""

    @pytest.mark.parametrize(
        ("changes", "status"),
        [
            ({"messages": None}, 422),
            ({"messages": []}, 422),
            ({"messages": {}}, 422),
            ({"messages": "Hello"}, 422),
            ({"messages": [None]}, 422),
            ({"messages": ["Hello"]}, 422),
            ({"messages": [{"content": "x"}]}, 422),
            ({"messages": [{"role": "tool", "content": "x"}]}, 422),
            ({"messages": [user(7)]}, 422),
            ({"messages": [user(["x"])]}, 422),
            ({"messages": [user(context="issue")]}, 422),
            ({"messages": [user(context={})]}, 422),
            ({"messages": [user(context={"type": 7})]}, 422),
            ({"messages": [user(current_file={})]}, 422),
            ({"messages": [user(current_file={"file_path": "a", "data": "b"})]}, 422),
            ({"messages": [user(additional_context={})]}, 422),
            ({"messages": [user(additional_context=[{}])]}, 422),
            ({"messages": [user(additional_context=[{"category": None}])]}, 422),
            ({"messages": [user(additional_context=[{"category": "x", "content": 1}])]}, 422),
            ({"messages": [user(agent_scratchpad=[])]}, 400),
            ({"messages": [user(agent_scratchpad=[STEP])]}, 400),
            ({"messages": [{"role": "system", "agent_scratchpad": []}, user()]}, 400),
            ({"messages": [user(), running({"action": {}})]}, 422),
            ({"messages": [user(), running({"action": "issue_reader"})]}, 422),
            ({"messages": [user(), running({**STEP, "observation": {}})]}, 422),
            ({"options": []}, 422),
            ({"options": {"agent_scratchpad": []}}, 422),
            ({"options": {"agent_scratchpad": {"steps": []}}}, 422),
            ({"options": {"agent_scratchpad": {"agent_type": "plan", "steps": []}}}, 422),
            ({"options": {"agent_scratchpad": {"agent_type": "react", "steps": [{}]}}}, 422),
            ({"unavailable_resources": "Pipelines"}, 422),
            ({"unavailable_resources": [1]}, 422),
            ({"model_metadata": "general"}, 422),
            ({"model_metadata": {"name": "general"}}, 422),
            ({"model_metadata": {"provider": "openai", "name": "nope"}}, 422),
            ({"model_metadata": {"provider": "openai", "name": "gpt", "endpoint": "x"}}, 422),
            ({"messages": None, "prompt": 7}, 422),
            ({"messages": None, "prompt": None}, 422),
            ({"messages": None, "prompt": "Hi", "options": "x"}, 422),
            ({"messages": None, "prompt": "Hi", "options": {"chat_history": {"a": 1}}}, 422),
        ],
        ids=str,
    )
    def test_that_do_not_fit_are_refused(self, agent, backend, changes, status):
        reply = agent(**changes)

        assert (reply.status, list(reply.json)) == (status, ["detail"])
        assert not backend.calls

    @pytest.mark.parametrize(
        "changes",
        [
            {"options": {}},
            {"options": {"agent_scratchpad": None}},
            {"nobody": "knows"},
            {"messages": [user(context={"type": "of_tomorrow", "title": "x"}, more=1)]},
            {"messages": [user(context=None, current_file=None, additional_context=None)]},
            {"messages": [user(additional_context=[])]},
            {"messages": [user(), running({"action": STEP["action"], "observation": None})]},
            {"messages": [user(), running({"action": STEP["action"]})]},
            {"messages": [user(), running()]},
            {"messages": [user(), {"role": "assistant", "agent_scratchpad": None}]},
        ],
        ids=str,
    )
    def test_that_are_unusual_are_served(self, agent, changes):
        reply = agent(**changes)

        assert (reply.status, shown(reply.body)) == (200, TEXT)

    @pytest.mark.parametrize("raw", ["", "{", "[]", '"x"', "null", "7"])
    def test_that_are_no_object_are_refused(self, trusted, chat_is_on, raw):
        reply = send("POST", PATH, body=raw.encode(), headers=trusted.headers())

        assert (reply.status, reply.json) == (422, {"detail": "Validation error"})
