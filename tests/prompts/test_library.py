"""The prompts that ship: each one renders, and the frames that models were trained on are exact."""

import pytest

from features import catalog
from models_registry.families import FAMILIES
from models_registry.providers.embedding import Texts
from models_registry.providers.types import Message
from prompts import library, versions
from prompts.budget import Cut
from prompts.errors import InvalidPrompt, MissingInput, PromptNotFound, PromptTooLarge
from prompts.library import HISTORY, Parameters, Turns
from tests.prompts.samples import CODE, INPUTS, PREFIX, SUFFIX, rendered

TALKING = sorted(set(FAMILIES) - {"embedding"})
SLUGS = sorted(prompt.slug for prompt in catalog.PROMPTS.values())
FIM_STOP = ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", "<|file_separator|>")
INST_STOP = ("[INST]", "[/INST]", "[PREFIX]", "[MIDDLE]")

# gitlab-client.md 1.7: what a self-hosted GitLab looks up, and what it forces otherwise.
RAILS = [
    *((slug, "^1.0.0") for slug in SLUGS),
    ("code_generations", "^2.0.1"),
    ("code_generations", "2.0.0"),
    ("code_generations", "1.2.0-dev"),
    ("generate_commit_message", "1.2.0"),
    ("summarize_new_merge_request", "^2.0.0"),
    ("summarize_review", "^2.0.0"),
    ("summarize_review", "2.1.0"),
    ("review_merge_request", "1.3.0"),
    ("resolve_vulnerability", "1.0.1"),
    ("chat_explain_vulnerability", "1.0.1"),
    ("glab_ask_git_command", "1.0.0"),
]

VALID = """\
version: "1.0.0"
inputs: [question]
messages:
  - role: user
    content: "{{question}}"
"""


def complete(family, *, has_native_fim=False, **inputs):
    return library.render(
        feature="code_completions",
        family=family,
        inputs={**CODE, **inputs},
        has_native_fim=has_native_fim,
    ).prompt


def definition(folder, text, name="default.yml"):
    path = folder / "some_feature" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return library.read_definition(path)


def first_family_of(feature, folder):
    """Return a family that is served by this definition."""
    return next(
        family for family in TALKING if library.get_definition(feature, family).folder == folder
    )


def parameters_of(feature, family):
    """Return in a line what a family is sent beside the text."""
    sample = rendered(feature, family)
    prompt = sample.prompt
    roles = " ".join(message.role for message in prompt.messages)
    return f"{sample.version} {roles} {(prompt.max_tokens, prompt.temperature, *prompt.stop)}"


class TestSnapshots:
    @pytest.mark.parametrize(("feature", "folder"), sorted(library.all_definitions()))
    def test_of_every_text(self, feature, folder, snapshot):
        family = first_family_of(feature, folder)
        messages = rendered(feature, family).prompt.messages

        texts = [f"{m.role}:\n{m.content}" for m in messages]
        assert "\n\n".join(texts) == snapshot

    @pytest.mark.parametrize("feature", SLUGS)
    def test_of_every_familys_parameters(self, feature, snapshot):
        parameters = {family: parameters_of(feature, family) for family in TALKING}

        assert parameters == snapshot

    @pytest.mark.parametrize("family", TALKING)
    def test_of_every_family_with_native_fim(self, family, snapshot):
        assert complete(family, has_native_fim=True).as_dict() == snapshot

    def test_of_every_digest(self, snapshot):
        """A digest changes only with the text: the log of last year must still be explained."""
        digests = {each.version: each.digest for each in library.all_definitions().values()}

        assert digests == snapshot


class TestVerbatim:
    def test_puts_texts_as_they_are_and_names_no_definition(self):
        texts = Texts(texts=("{{prefix}}",))

        rendered = library.verbatim(texts)

        assert rendered.prompt is texts
        assert (rendered.version, rendered.digest, rendered.context_tokens) == ("", "", 0)


class TestReference:
    """What GitLab's own gateway sends to a model, from the recordings named in the cases."""

    @pytest.mark.parametrize(
        ("family", "user_message", "parameters"),
        [
            # v2comp-family-codegemma
            (
                "codegemma",
                f"<|fim_prefix|>{PREFIX}<|fim_suffix|>{SUFFIX}<|fim_middle|>",
                (128, 0.95, FIM_STOP),
            ),
            # v3comp-family-codellama
            (
                "codellama",
                f"<PRE> {PREFIX} <SUF> {SUFFIX} <MID>",
                (128, 0.95, ("<PRE>", "<SUF>", "<MID>", "<EOT>")),
            ),
            # v3comp-family-deepseekcoder
            (
                "deepseekcoder",
                f"<\uff5cfim\u2581begin\uff5c>{PREFIX}<\uff5cfim\u2581hole\uff5c>{SUFFIX}"
                "<\uff5cfim\u2581end\uff5c>",
                (128, 0.0, ()),
            ),
            # v2comp-family-codestral, v3comp-family-mistral, v3comp-family-mixtral
            ("codestral", f"<s>[SUFFIX]{SUFFIX}[PREFIX]{PREFIX}", (64, 0.32, INST_STOP)),
            ("mistral", f"<s>[SUFFIX]{SUFFIX}[PREFIX]{PREFIX}", (64, 0.0, INST_STOP)),
            ("mixtral", f"<s>[SUFFIX]{SUFFIX}[PREFIX]{PREFIX}", (64, 0.0, INST_STOP)),
            # v2comp-family-gpt
            (
                "gpt",
                f"------\nLanguage: python\n\n<|prefix|>{PREFIX}<|suffix|>{SUFFIX}",
                (64, None, ()),
            ),
        ],
    )
    def test_frame_is_exact(self, family, user_message, parameters):
        prompt = complete(family)

        assert prompt.messages[-1] == Message(role="user", content=user_message)
        assert (prompt.max_tokens, prompt.temperature, prompt.stop) == parameters

    @pytest.mark.parametrize(
        ("family", "parameters"),
        [
            ("llama3", (64, 0.0, ())),  # v2comp-family-llama3
            ("claude_3", (128, 0.0, ())),  # v2comp-family-claude_3
            ("general", (128, 0.0, ())),  # prompt-code_suggestions~completions
            ("gemini", (128, 1.0, ())),  # v3comp-family-gemini
            ("qwen", (128, 0.0, ())),  # gateway-api.md 5.3 and 4.4
        ],
    )
    def test_parameters_of_instruction_families_are_the_same(self, family, parameters):
        prompt = complete(family)

        assert (prompt.max_tokens, prompt.temperature, prompt.stop) == parameters
        assert [message.role for message in prompt.messages] == ["system", "user"]

    @pytest.mark.parametrize("family", ["codegemma", "codellama", "deepseekcoder"])
    def test_families_trained_on_bare_markers_get_no_system_message(self, family):
        assert [message.role for message in complete(family).messages] == ["user"]

    @pytest.mark.parametrize(("family", "temperature"), [("general", 0.0), ("gpt", None)])
    def test_parameters_of_the_connection_test_are_the_same(self, family, temperature):
        # prompt-model_configuration~check, prompts-react-like-gpt
        prompt = library.render(feature="model_configuration", family=family, inputs={}).prompt

        assert (prompt.max_tokens, prompt.temperature, prompt.stop) == (16, temperature, ())
        assert [message.role for message in prompt.messages] == ["system", "user"]

    @pytest.mark.parametrize(
        ("feature", "family", "parameters"),
        [
            # gateway-api.md 7.4 and 4.4; those with a recording are named in tests/contract
            ("chat_explain_vulnerability", "general", (2048, 0.1)),
            ("chat_explain_vulnerability", "gpt", (2048, None)),
            ("chat_explain_vulnerability", "codestral", (2048, 0.0)),
            ("chat_explain_vulnerability", "llama3", (2048, 0.0)),
            ("chat_fix_code", "mistral", (2048, 0.1)),
            ("chat_fix_code", "codestral", (2048, 0.3)),
            ("chat_fix_code", "llama3", (2048, 0.3)),
            ("chat_refactor_code", "mixtral", (2048, 0.0)),
            ("chat_refactor_code", "codestral", (2048, 0.3)),
            ("chat_write_tests", "llama3", (2048, 0.3)),
            ("chat_write_tests", "mistral", (2048, 0.0)),
            ("chat_merge_request_reader", "gpt", (2048, 0.1)),
            ("chat_merge_request_reader", "general", (2048, 0.0)),
            ("chat_issue_reader", "mistral", (2048, 0.1)),
            ("chat_documentation_search", "general", (4096, 0.1)),
            ("chat_documentation_search", "gpt", (None, 0.1)),
            ("categorize_question", "general", (500, 0.0)),
            ("chat_react", "gpt", (8192, None)),
            ("classify_code_review_mention_intent", "general", (50, 0.0)),
            ("feature_discovery_search", "gpt", (1024, 0.0)),
            ("generate_session_title", "general", (40, 0.0)),
            ("resolve_vulnerability", "general", (4096, 0.1)),
            ("review_merge_request", "general", (8192, 0.0)),
            ("summarize_duo_workflow", "general", (1024, 0.0)),
        ],
    )
    def test_parameters_of_prompts_are_the_same(self, feature, family, parameters):
        prompt = rendered(feature, family).prompt

        assert (prompt.max_tokens, prompt.temperature) == parameters

    @pytest.mark.parametrize(
        ("family", "user_message"),
        [
            ("codestral", "<s>[SUFFIX][PREFIX]"),
            ("codegemma", "<|fim_prefix|><|fim_suffix|><|fim_middle|>"),
        ],
    )
    def test_an_empty_suffix_is_empty_and_not_none(self, family, user_message):
        # v2comp-empty-content, where the reference writes "None".
        prompt = complete(family, prefix="", suffix="")

        assert prompt.messages[-1].content == user_message

    def test_templates_in_the_code_stay_code(self):
        # v2comp-jinja-in-code
        code = {"prefix": "{% for a in b %}{{ a }}", "suffix": "{% endfor %}{{ 7*7 }}{{prefix}}"}

        prompt = complete("codestral", **code)

        expected = f"<s>[SUFFIX]{code['suffix']}[PREFIX]{code['prefix']}"
        assert prompt.messages[-1].content == expected


class TestNativeFim:
    @pytest.mark.parametrize(
        ("family", "text"),
        [
            ("codegemma", "<|fim_prefix|>P<|fim_suffix|>S<|fim_middle|>"),
            ("codellama", "<PRE> P <SUF>S <MID>"),
            ("codestral", "[SUFFIX]S[PREFIX]P"),
            ("mistral", "[SUFFIX]S[PREFIX]P"),
            ("mixtral", "[SUFFIX]S[PREFIX]P"),
            ("qwen", "<|fim_prefix|>P<|fim_suffix|>S<|fim_middle|>"),
            ("general", "<|fim_prefix|>P<|fim_suffix|>S<|fim_middle|>"),
            (
                "deepseekcoder",
                "<\uff5cfim\u2581begin\uff5c>P<\uff5cfim\u2581hole\uff5c>S<\uff5cfim\u2581end\uff5c>",
            ),
        ],
    )
    def test_has_the_markers_of_the_family(self, family, text):
        prompt = complete(family, has_native_fim=True, prefix="P", suffix="S")

        assert (prompt.text, prompt.messages) == (text, ())

    @pytest.mark.parametrize("family", ["llama3", "gpt", "gemini"])
    def test_falls_back_to_chat_where_the_family_has_no_markers(self, family):
        prompt = complete(family, has_native_fim=True)

        assert prompt.text is None
        assert prompt == complete(family)

    def test_stops_at_the_markers_of_qwen_that_a_chat_never_sees(self):
        prompt = complete("qwen", has_native_fim=True)

        assert {"<|fim_pad|>", "<|file_sep|>", "<|im_end|>", "<|endoftext|>"} <= set(prompt.stop)


class TestRender:
    @pytest.mark.parametrize("family", TALKING)
    def test_shows_the_code_and_nothing_unfilled(self, family):
        prompt = complete(family)

        sent = "".join(message.content for message in prompt.messages)
        assert PREFIX in sent
        assert SUFFIX in sent
        assert "{{" not in sent

    @pytest.mark.parametrize("family", TALKING)
    @pytest.mark.parametrize("name", sorted(CODE))
    def test_refuses_a_missing_input_for_every_family(self, family, name):
        inputs = {key: value for key, value in CODE.items() if key != name}

        with pytest.raises(MissingInput, match=f"'{name}'"):
            library.render(feature="code_completions", family=family, inputs=inputs)

    def test_refuses_all_missing_inputs_at_once(self):
        with pytest.raises(MissingInput, match="the inputs 'selected_text', 'language_info'"):
            library.render(
                feature="chat_explain_code",
                family="general",
                inputs={"input": "x", "file_content": "y", "more": "z"},
            )

    def test_takes_what_is_optional_as_empty(self):
        inputs = INPUTS["chat_write_tests"]
        without = {name: value for name, value in inputs.items() if name != "libraries"}

        rendered = [
            library.render(feature="chat_write_tests", family="general", inputs=each)
            for each in (without, {**without, "libraries": ""})
        ]

        assert rendered[0].prompt == rendered[1].prompt
        assert "Libraries" not in rendered[0].prompt.messages[-1].content

    @pytest.mark.parametrize(
        ("given", "shown"),
        [
            ({"features": "F"}, "F"),
            ({"catalog": "C"}, "C"),
            ({"catalog": "C", "features": "F"}, "C"),
            ({"features": "F", "catalog": "C"}, "C"),
        ],
    )
    def test_takes_an_input_by_its_other_name(self, given, shown):
        rendered = library.render(
            feature="feature_discovery_search", family="general", inputs={"query": "q", **given}
        )

        assert f"<catalog>\n{shown}\n</catalog>" in rendered.prompt.messages[-1].content

    def test_keeps_all_inputs_for_the_record(self):
        inputs = {"diff": "d", "unknown": "u"}

        rendered = library.render(
            feature="generate_commit_message", family="general", inputs=inputs
        )

        assert rendered.inputs == inputs
        assert rendered.cut == {}

    def test_cuts_what_the_window_does_not_hold_and_says_so(self):
        log = "first line\n" + "x" * 100_000 + "\nERROR: the last line"

        rendered = library.render(
            feature="chat_troubleshoot_job",
            family="codellama",
            inputs={"selected_text": log, "language_info": ""},
        )

        kept = rendered.inputs["selected_text"]
        assert kept.endswith("ERROR: the last line")
        assert kept in rendered.prompt.messages[-1].content
        assert rendered.cut == {"selected_text": Cut(kept=len(kept), of=len(log))}
        assert 30_000 < len(kept) < 48_000

    def test_cuts_code_at_a_cursor_by_its_own_rule(self):
        rendered = library.render(
            feature="code_completions",
            family="codegemma",
            inputs={**CODE, "prefix": "a" * 100_000 + "b"},
            context=["c" * 9],
        )

        assert rendered.inputs["prefix"].endswith("ab")
        assert rendered.inputs["prefix"].startswith("ccc")
        assert rendered.context_tokens == 3
        assert rendered.cut.keys() == {"prefix"}

    def test_goes_by_the_window_of_the_model_and_not_of_its_family(self):
        inputs = {"diff": "x" * 20_000}
        render = {"feature": "generate_commit_message", "family": "general", "inputs": inputs}

        small = library.render(**render, window_tokens=4096)
        large = library.render(**render)

        assert small.cut["diff"].kept < 9_000
        assert large.cut == {}

    def test_asks_for_no_longer_an_answer_than_the_window_holds(self):
        inputs = {**INPUTS["review_merge_request"], "diff_lines": "x" * 6000}
        render = {"feature": "review_merge_request", "family": "general", "inputs": inputs}

        small = library.render(**render, window_tokens=8000).prompt
        large = library.render(**render).prompt

        assert 4000 < small.max_tokens < 8000 - 2000
        assert large.max_tokens == 8192

    def test_gives_gemma_the_systems_words_as_the_users(self):
        inputs = INPUTS["generate_commit_message"]
        render = {"feature": "generate_commit_message", "inputs": inputs}

        gemma = library.render(**render, family="codegemma").prompt.messages
        usual = library.render(**render, family="general").prompt.messages

        assert [message.role for message in usual] == ["system", "user"]
        assert gemma == (Message(role="user", content=f"{usual[0].content}\n\n{usual[1].content}"),)

    @pytest.mark.parametrize(
        ("family", "parameters"),
        [
            ("general", (4096, 0.0)),
            ("gpt", (None, None)),
            ("gemini", (65_536, 1.0)),
            ("qwen", (8192, 0.0)),
        ],
    )
    def test_sends_the_familys_own_parameters_where_a_prompt_has_none(self, family, parameters):
        # prompt-generate_commit_message, and gateway-api.md 4.4
        prompt = library.render(
            feature="generate_commit_message", family=family, inputs={"diff": "d"}
        ).prompt

        assert (prompt.max_tokens, prompt.temperature) == parameters

    def test_names_the_definition(self):
        rendered = library.render(feature="code_completions", family="mixtral", inputs=CODE)

        definition = library.all_definitions()["code_completions", "mistral"]
        assert rendered.version == "built-in/code_completions/mistral@1.0.0"
        assert rendered.digest == definition.digest

    def test_refuses_messages_that_are_too_large_together(self, tmp_path, monkeypatch):
        text = VALID + '  - role: user\n    content: "{{question}}"\n'
        both = definition(tmp_path, text)
        monkeypatch.setattr(library, "get_definition", lambda feature, family: both)

        with pytest.raises(PromptTooLarge):
            library.render(feature="f", family="gpt", inputs={"question": "x" * 600_000})

    def test_sends_the_start_of_the_answer_only_to_a_model_that_continues_it(
        self, tmp_path, monkeypatch
    ):
        opened = definition(tmp_path, VALID + 'prefill: "About {{question}}:"\n')
        monkeypatch.setattr(library, "get_definition", lambda feature, family: opened)
        call = {"feature": "f", "family": "gpt", "inputs": {"question": "bees"}}

        plain = library.render(**call).prompt
        continued = library.render(**call, takes_prefill=True).prompt

        assert [message.role for message in plain.messages] == ["user"]
        assert continued.messages[-1] == Message(role="assistant", content="About bees:")


def said(*texts):
    """Return turns in which user and assistant alternate, the user first."""
    roles = ("user", "assistant") * len(texts)
    return tuple(Message(role=role, content=text) for role, text in zip(roles, texts, strict=False))


class TestTurns:
    @pytest.fixture
    def render(self, tmp_path, monkeypatch):
        """Render a prompt of a line, with a conversation behind it."""
        line = definition(
            tmp_path,
            """\
version: "1.0.0"
inputs: []
messages: [{role: system, content: Be brief.}]
prefill: "Well,"
max_tokens: 100
""",
        )
        monkeypatch.setattr(library, "get_definition", lambda feature, family: line)

        def render(turns, family="general", **options):
            return library.render(feature="f", family=family, inputs={}, turns=turns, **options)

        return render

    def test_come_after_the_prompts_own_messages_in_order(self, render):
        turns = Turns(past=(said("1", "2"), said("3", "4")), current=said("5"))

        messages = render(turns).prompt.messages

        assert [message.content for message in messages] == ["Be brief.", *"12345"]
        assert [message.role for message in messages[1:]] == ["user", "assistant"] * 2 + ["user"]

    def test_come_before_the_start_of_the_answer(self, render):
        messages = render(Turns(current=said("1")), takes_prefill=True).prompt.messages

        assert messages[1:] == (*said("1"), Message(role="assistant", content="Well,"))

    def test_begin_with_the_systems_words_where_a_family_has_no_system(self, render):
        turns = Turns(past=(said("1", "2"),), current=said("3"))

        messages = render(turns, family="codegemma").prompt.messages

        assert messages == said("Be brief.\n\n1", "2", "3")

    def test_lose_the_oldest_exchanges_first_and_say_so(self, render):
        past = (said("a" * 900, "b" * 900), said("c" * 900, "d"), said("e", "f"))

        small = render(Turns(past=past, current=said("g")), window_tokens=1000)

        assert small.prompt.messages[1:] == (*past[1], *past[2], *said("g"))
        assert small.cut == {HISTORY: Cut(kept=903, of=2703)}

    def test_never_lose_what_has_to_be_answered(self, render):
        current = said("q" * 9000, "Action: a", "Observation: " + "o" * 9000)

        small = render(Turns(past=(said("1", "2"),), current=current), window_tokens=1000)

        assert small.prompt.messages[1:] == current
        assert small.cut == {HISTORY: Cut(kept=0, of=2)}

    def test_take_the_room_that_inputs_would_have_had(self):
        call = {
            "feature": "generate_commit_message",
            "family": "general",
            "inputs": {"diff": "d" * 3000},
            "window_tokens": 2000,
        }

        alone = library.render(**call)
        behind = library.render(**call, turns=Turns(current=said("q" * 1500)))

        assert alone.cut == {}
        assert behind.cut["diff"].kept < 2500

    def test_of_an_endless_conversation_make_a_prompt_of_the_allowed_size(self, render):
        past = (said("a" * 100_000, "b" * 100_000),) * 20

        large = render(Turns(past=past, current=said("c" * 100_000)), family="gemini")

        sizes = [len(message.content) for message in large.prompt.messages]
        assert sum(sizes) > 0.7 * library.budget.MAX_PROMPT_BYTES
        assert large.cut[HISTORY].kept == sum(sizes[1:-1])

    def test_that_must_stay_and_are_too_large_are_refused(self, render):
        with pytest.raises(PromptTooLarge):
            render(Turns(current=said("x" * 1_100_000)))

    def test_may_be_all_there_is(self):
        turns = Turns(current=said("Hello"))

        prompt = library.render(feature="chat_v1", family="general", inputs={}, turns=turns).prompt

        assert prompt.messages == said("Hello")


class TestParameters:
    def test_of_a_caller_take_the_place_of_the_prompts(self):
        wanted = Parameters(max_tokens=100, temperature=0.7, stop=("END",))

        prompt = library.render(
            feature="chat_react", family="gpt", inputs=INPUTS["chat_react"], parameters=wanted
        ).prompt

        assert (prompt.max_tokens, prompt.temperature, prompt.stop) == (100, 0.7, ("END",))


class TestGetDefinition:
    def test_prefers_the_family_then_its_relatives_then_the_default(self):
        found = [
            library.get_definition("code_completions", family).folder
            for family in ("codestral", "mixtral", "claude_3")
        ]

        assert found == ["codestral", "mistral", "default"]

    @pytest.mark.parametrize(
        ("feature", "family"), [("no_such_feature", "gpt"), ("code_completions", "no_such_family")]
    )
    def test_refuses_what_is_not_there(self, feature, family):
        with pytest.raises(PromptNotFound, match="no_such_"):
            library.get_definition(feature, family)

    def test_finds_something_for_every_feature_of_the_catalog(self):
        found = [library.get_definition(slug, "general").feature for slug in SLUGS]

        assert found == SLUGS


class TestAnswersTo:
    def test_knows_the_versions_of_a_prompt(self):
        versions = library.answers_to("chat_explain_code")

        assert versions == ("0.0.1-dev", "1.0.0", "1.0.1", "1.1.0-dev", "1.1.0")

    def test_knows_one_version_where_nobody_listed_any(self):
        assert library.answers_to("model_configuration") == ("1.0.0",)

    def test_refuses_what_is_not_there(self):
        with pytest.raises(PromptNotFound, match="no_such"):
            library.answers_to("no_such")

    @pytest.mark.parametrize(("slug", "asked"), RAILS)
    def test_holds_every_version_that_rails_asks_for(self, slug, asked):
        assert versions.resolve(asked, available=library.answers_to(slug))


class TestAllDefinitions:
    def test_belong_to_a_feature_and_a_folder_that_exist(self):
        folders = {"default"}.union(*(family.prompt_folders for family in FAMILIES.values()))

        features_found, folders_found = zip(*library.all_definitions(), strict=True)

        assert set(features_found) <= set(SLUGS)
        assert set(folders_found) <= folders


class TestReadDefinition:
    def test_reads_a_whole_file(self, tmp_path):
        read = definition(tmp_path, VALID + "max_tokens: 9\nstop: [a]\n")

        assert read.version == "built-in/some_feature/default@1.0.0"
        assert (read.inputs, read.max_tokens, read.temperature) == (("question",), 9, None)
        assert read.stop == read.text_stop == ("a",)

    def test_gives_the_same_digest_to_the_same_content_only(self, tmp_path):
        first = definition(tmp_path, VALID)
        reworded = definition(tmp_path, "# A comment.\n" + VALID)
        changed = definition(tmp_path, VALID.replace("{{question}}", "{{question}}?"))

        assert first.digest == reworded.digest
        assert first.digest != changed.digest

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("inputs: []\nversion: [", r"^some_feature/default\.yml, line 2: "),
            ("a: &a [*a]\n\x00", r"^some_feature/default\.yml"),
            ("", r"^some_feature/default\.yml, the file: "),
            (VALID + "max_token: 5\n", r"default\.yml, max_token: "),
            (VALID + "max_tokens: 0\n", r"default\.yml, max_tokens: "),
            (VALID + "max_tokens: yes\n", r"default\.yml, max_tokens: "),
            (VALID + "temperature: 3\n", r"default\.yml, temperature: "),
            (VALID + "stop: [a, b, c, d, e]\n", r"default\.yml, stop: "),
            (VALID.replace("role: user", "role: root"), r"default\.yml, messages\.0\.role: "),
            (VALID.replace('"1.0.0"', "1.0"), r"default\.yml, version: "),
            (VALID.replace("[question]", "[Question]"), r"default\.yml, inputs\.0: "),
            (VALID.replace("{{q", "\\n{{x"), r"messages\.0: Line 2: 'xuestion' is not a declared"),
            (VALID + "cut: {diff: end}\n", r"default\.yml: 'diff' is not a declared input"),
            (VALID + "cut: {question: both}\n", r"default\.yml, cut\.question: "),
            (VALID + "aliases: {a: b}\n", r"default\.yml: 'b' is not a declared input"),
            (VALID + "answers_to: []\n", r"default\.yml, answers_to: "),
            (VALID + 'text: "{{#question}}"\n', r"text: The section 'question' is not closed"),
            (VALID + 'prefill: "{{other}}"\n', r"prefill: Line 1: 'other' is not a declared"),
        ],
    )
    def test_names_the_file_and_the_place_of_a_mistake(self, tmp_path, text, message):
        with pytest.raises(InvalidPrompt, match=message):
            definition(tmp_path, text)

    def test_takes_from_the_default_what_a_familys_file_does_not_say(self, tmp_path):
        default = definition(tmp_path, VALID + "max_tokens: 9\ntemperature: 0.1\n")

        own = definition(tmp_path, "temperature: null\n", "mistral.yml")

        assert own.version == "built-in/some_feature/mistral@1.0.0"
        assert (own.messages, own.max_tokens) == (default.messages, 9)
        assert own.temperature is None
        assert own.digest != default.digest

    def test_takes_nothing_from_the_default_for_a_file_with_its_own_messages(self, tmp_path):
        definition(tmp_path, VALID + "max_tokens: 9\n")

        assert definition(tmp_path, VALID, "mistral.yml").max_tokens is None

    def test_refuses_a_file_that_is_not_utf_8(self, tmp_path):
        path = tmp_path / "default.yml"
        path.write_bytes(b"version: \xff")

        with pytest.raises(InvalidPrompt, match="not YAML in UTF-8"):
            library.read_definition(path)
