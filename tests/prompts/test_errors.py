"""What a prompt error says of itself."""

from prompts import errors


class TestPromptErrors:
    def test_have_a_code_each(self):
        kinds = errors.PromptError.__subclasses__()

        assert len({kind.code for kind in kinds}) == len(kinds) == 5


class TestMissingInput:
    def test_names_the_input_and_never_a_value(self):
        missing = errors.MissingInput("suffix", declared=("prefix", "suffix"), given=("prefix",))

        assert str(missing) == "The prompt needs the input 'suffix'."
        assert (missing.declared, missing.given) == (("prefix", "suffix"), ("prefix",))

    def test_names_all_of_them(self):
        missing = errors.MissingInput("diff", "title")

        assert str(missing) == "The prompt needs the inputs 'diff', 'title'."
