"""Why a prompt cannot be rendered.

PromptError
├── PromptNotFound    no definition for this feature (a release error; also a system check)
├── MissingInput      the prompt declares an input that was not given
├── InvalidPrompt     a definition or a template is malformed, or names an undeclared input
└── PromptTooLarge    the rendered text is over the limit
"""

from __future__ import annotations


class PromptError(Exception):
    """A prompt cannot be rendered."""

    code = "prompt_error"


class PromptNotFound(PromptError):
    """There is no prompt for this feature."""

    code = "prompt_not_found"


class MissingInput(PromptError):
    """The prompt needs an input that was not given."""

    code = "missing_input"

    def __init__(self, name: str, *, declared: tuple[str, ...] = (), given: tuple[str, ...] = ()):
        """Name the missing input."""
        super().__init__(f"The prompt needs the input '{name}'.")
        self.name, self.declared, self.given = name, declared, given


class InvalidPrompt(PromptError):
    """The prompt is malformed."""

    code = "invalid_prompt"


class PromptTooLarge(PromptError):
    """The rendered prompt is too large."""

    code = "prompt_too_large"
