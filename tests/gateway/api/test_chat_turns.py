"""Promises of gateway/api/chat_turns.py: whatever GitLab sends, a chat that every model takes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.api import chat_turns
from gateway.api.chat_turns import Message, Step, UnusableConversation
from models_registry.providers.types import Message as Turn


def user(content="", **more):
    return {"role": "user", "content": content, **more}


def assistant(content=None, *steps):
    return {"role": "assistant", "content": content, "agent_scratchpad": list(steps)}


def step(number, observation="It is open."):
    action = {"thought": "I need it.", "tool": "issue_reader", "tool_input": f"#{number}"}
    return {"action": action, "observation": observation}


def conversation(*messages, running=()):
    return chat_turns.conversation(
        [Message.model_validate(message) for message in messages],
        [Step.model_validate(step) for step in running],
    )


def question(**message):
    """Return what the model reads of one question."""
    (turn,) = conversation(user(**message)).current
    return turn.content


def asked(text):
    return Turn(role="user", content=text)


def answered(text):
    return Turn(role="assistant", content=text)


def looked_up(number):
    """Return the turns of a step."""
    action = f"Thought: I need it.\nAction: issue_reader\nAction Input: #{number}"
    return answered(action), asked("Observation: It is open.")


class TestConversation:
    def test_of_one_question_is_that_question(self):
        turns = conversation(user("Hello"))

        assert (turns.past, turns.current) == ((), (asked("Hello"),))

    def test_keeps_earlier_exchanges_apart_from_the_question(self):
        turns = conversation(user("1"), assistant("2"), user("3"), assistant("4"), user("5"))

        assert turns.past == (
            (asked("1"), answered("Final Answer: 2")),
            (asked("3"), answered("Final Answer: 4")),
        )
        assert turns.current == (asked("5"),)

    def test_shows_the_steps_of_an_earlier_answer_before_it(self):
        turns = conversation(user("1"), assistant("2", step(7), step(8)), user("3"))

        (exchange,) = turns.past
        assert exchange == (
            asked("1"),
            *looked_up(7),
            *looked_up(8),
            answered("Final Answer: 2"),
        )

    def test_shows_the_running_steps_after_the_question(self):
        turns = conversation(user("1"), running=[step(7), step(8)])

        assert turns.current == (asked("1"), *looked_up(7), *looked_up(8))

    def test_shows_no_step_without_an_action(self):
        turns = conversation(user("1"), running=[{"action": None, "observation": "x"}, step(7)])

        assert turns.current == (asked("1"), *looked_up(7))

    def test_skips_an_answer_that_was_never_given(self):
        turns = conversation(user("1"), assistant(None, step(7)), user("2"))

        assert (turns.past, turns.current) == ((), (asked("1\n\n2"),))

    def test_skips_an_answer_whose_question_is_gone(self):
        turns = conversation(assistant("0"), user("1"))

        assert (turns.past, turns.current) == ((), (asked("1"),))

    def test_joins_answers_in_a_row(self):
        (exchange,) = conversation(user("1"), assistant("2"), assistant("3"), user("4")).past

        assert exchange == (asked("1"), answered("Final Answer: 2\n\nFinal Answer: 3"))

    @pytest.mark.parametrize(
        "messages",
        [
            [user("1"), assistant("2")],
            [assistant("1")],
            [assistant(None, step(7))],
            [user("")],
            [user(None)],
            [user("1"), assistant("2"), user("")],
        ],
    )
    def test_needs_a_question_at_its_end(self, messages):
        with pytest.raises(UnusableConversation, match=r"^Last message must be a human message$"):
            conversation(*messages)

    def test_takes_no_system_message(self):
        with pytest.raises(UnusableConversation, match=r"^Unsupported message$"):
            conversation({"role": "system", "content": "x"}, user("1"))

    @given(
        st.lists(
            st.sampled_from([user("q"), user(""), assistant("a"), assistant(None, step(1))])
            | st.builds(lambda n: assistant("a", *[step(i) for i in range(n)]), st.integers(0, 3)),
            max_size=8,
        ),
        st.integers(0, 3),
    )
    def test_always_alternates_from_user_to_user(self, messages, steps):
        running = [step(number) for number in range(steps)]

        turns = conversation(*messages, user("last"), running=running)

        flat = [turn for exchange in (*turns.past, turns.current) for turn in exchange]
        assert [turn.role for turn in flat[::2]] == ["user"] * len(flat[::2])
        assert [turn.role for turn in flat[1::2]] == ["assistant"] * len(flat[1::2])
        assert flat[-1].role == "user"
        assert all(exchange[0].role == "user" for exchange in turns.past)
        assert all(turn.content for turn in flat)


class TestQuestion:
    def test_follows_what_the_user_sees_and_picked(self):
        text = question(
            content="Why?",
            context={"type": "issue", "title": "Login is slow"},
            additional_context=[
                {"category": "file", "id": "a.py", "content": "A = 1", "metadata": {"k": "v"}},
                {"category": "local_git", "content": "diff"},
                {"category": "repository", "id": "group/app"},
            ],
            current_file={"file_path": "b.py", "data": "B = 2", "selected_code": True},
        )

        assert text == (
            "<page>\nThe user looks at this issue: Login is slow\n</page>\n\n"
            "<additional_context>\nfile: a.py\nA = 1\n</additional_context>\n\n"
            "<additional_context>\nlocal git\ndiff\n</additional_context>\n\n"
            "<additional_context>\nrepository: group/app\n</additional_context>\n\n"
            "<selected_code>\nb.py\nB = 2\n</selected_code>\n\n"
            "Why?"
        )

    def test_shows_the_page_as_older_versions_send_it(self):
        text = question(content="Why?", context={"type": "merge_request", "content": "It adds x."})

        page = "<page>\nThe user looks at this merge request.\nIt adds x.\n</page>"
        assert text == f"{page}\n\nWhy?"

    def test_shows_a_page_without_a_title(self):
        assert "looks at this build.\n" in question(content="Why?", context={"type": "build"})

    def test_tells_an_open_file_from_a_selection(self):
        file = {"file_path": "b.py", "data": "B = 2", "selected_code": False}

        text = question(content="Why?", current_file=file)

        assert text == "<open_file>\nb.py\nB = 2\n</open_file>\n\nWhy?"

    def test_may_be_what_was_picked_alone(self):
        file = {"file_path": "b.py", "data": "B = 2", "selected_code": True}

        assert question(current_file=file).startswith("<selected_code>")
