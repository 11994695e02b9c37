"""Why a prompt cannot be rendered.

PromptError
├── PromptNotFound    no definition for this feature (a release error; also a system check)
├── NoSuchVersion     the prompt does not answer to the version that was asked for
├── MissingInput      the prompt declares inputs that were not given
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


class NoSuchVersion(PromptError):
    """The prompt does not answer to the version that was asked for."""

    code = "no_such_version"


class MissingInput(PromptError):
    """The prompt needs inputs that were not given."""

    code = "missing_input"

    def __init__(self, *names: str, declared: tuple[str, ...] = (), given: tuple[str, ...] = ()):
        """Name what is missing."""
        quoted = ", ".join(f"'{name}'" for name in names)
        super().__init__(f"The prompt needs the input{'s' if len(names) > 1 else ''} {quoted}.")
        self.names, self.declared, self.given = names, declared, given


class InvalidPrompt(PromptError):
    """The prompt is malformed."""

    code = "invalid_prompt"


class PromptTooLarge(PromptError):
    """The rendered prompt is too large."""

    code = "prompt_too_large"
