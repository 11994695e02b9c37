"""The tools with which the chat agent looks things up in GitLab, and who is offered which.

GitLab runs them; the model only names one and says what it needs. To add a tool, add one entry: the
name is the one that GitLab knows.
Source: gateway-api.md 6.5; gitlab-client.md 1.8. The words are ours.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

# GitLab's version, as far as it matters: the first two numbers. A GitLab that names none is older
# than every tool that came later.
Release = tuple[int, int]
NO_RELEASE = (0, 0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Tool:
    """A tool: what it reads, and how the model is told to use it.

    `resources` are what nobody can read without it. `since` is the first GitLab that can run it.
    """

    name: str
    resources: str
    unit_primitive: str
    reads: str
    needs: str
    question: str
    tool_input: str
    since: Release = NO_RELEASE


_REFERENCE = "the reference, number or address that the user gave, or the user's words for it"

TOOLS = (
    Tool(
        name="issue_reader",
        resources="issues",
        unit_primitive="ask_issue",
        reads="one issue: its text, comments, state, labels, people and dates",
        needs=f"{_REFERENCE}, such as: this issue",
        question="Who works on #12?",
        tool_input="#12",
    ),
    Tool(
        name="epic_reader",
        resources="epics",
        unit_primitive="ask_epic",
        reads="one epic: its text, comments, state, labels, people and dates",
        needs=f"{_REFERENCE}, such as: this epic",
        question="Summarize group&5",
        tool_input="group&5",
    ),
    Tool(
        name="work_item_reader",
        resources="work items",
        unit_primitive="ask_work_item",
        reads="one work item (a task, an objective, a key result): its text, comments and state",
        needs=f"{_REFERENCE}, such as: this work item",
        question="What is left to do in https://gitlab.example.com/a/b/-/work_items/7?",
        tool_input="https://gitlab.example.com/a/b/-/work_items/7",
    ),
    Tool(
        name="merge_request_reader",
        resources="merge requests",
        unit_primitive="ask_merge_request",
        reads="one merge request: its text, changes, comments, state and people",
        needs=f"{_REFERENCE}, such as: this merge request",
        question="What does !42 change?",
        tool_input="!42",
        since=(17, 5),
    ),
    Tool(
        name="commit_reader",
        resources="commits",
        unit_primitive="ask_commit",
        reads="one commit: its message, author, date and changes",
        needs=f"{_REFERENCE}, such as: this commit",
        question="Why was 6714c913 made?",
        tool_input="6714c913",
        since=(17, 5),
    ),
    Tool(
        name="build_reader",
        resources="CI/CD jobs",
        unit_primitive="ask_build",
        reads="one CI/CD job (a build): its log, state, stage and duration",
        needs=f"{_REFERENCE}, such as: this job",
        question="Why did this job fail?",
        tool_input="this job",
        since=(17, 5),
    ),
    Tool(
        name="gitlab_documentation",
        resources="the documentation of GitLab",
        unit_primitive="documentation_search",
        reads="the documentation of GitLab: how a feature works, how to set it up",
        needs="a few key words to search for",
        question="How do I protect a branch?",
        tool_input="protect branch",
    ),
)


def offered(*, can: Callable[[tuple[str, ...]], bool], release: Release) -> tuple[Tool, ...]:
    """Return the tools that the caller's token allows and its GitLab can run."""
    return tuple(tool for tool in TOOLS if tool.since <= release and can((tool.unit_primitive,)))


def described(tools: Sequence[Tool]) -> str:
    """Return what the model is told of the tools."""
    return "\n".join(
        f"- {tool.name} reads {tool.reads}. Action Input: {tool.needs}. "
        f'For "{tool.question}" it is: {tool.tool_input}'
        for tool in tools
    )


def out_of_reach(tools: Sequence[Tool]) -> tuple[str, ...]:
    """Return what nobody can read for the model because these are all the tools there are."""
    return tuple(tool.resources for tool in TOOLS if tool not in tools)
