"""Owns what the assistant remembers of a conversation and what a run may set; the nodes decide what goes in."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, NotRequired

from langchain_core.messages import AnyMessage
from langchain_core.runnables import RunnableConfig
from langgraph.graph import add_messages
from langgraph.managed import RemainingSteps
from typing_extensions import TypedDict


class Passage(TypedDict):
    """A piece of an ingested document or a fetched page, whose `path` is its address.

    `position` counts the document's passages from 1, `page` its pages, if it has any.
    """

    path: str
    title: str
    heading: str
    position: int
    page: NotRequired[int | None]
    content: str


class Source(Passage):
    """A passage that was found in this turn, with the number an answer cites it by."""

    number: int


class PlannedCall(TypedDict):
    """A tool call the planner decided on, and in which step."""

    step: int
    tool: str
    args: dict[str, Any]


class StopReason(StrEnum):
    """Why a turn planned no further."""

    DONE = "done"
    MAX_STEPS = "max_steps"
    TOKEN_BUDGET = "token_budget"  # noqa: S105  # counts words, opens nothing
    LOOP = "loop"
    RECURSION_LIMIT = "recursion_limit"


class Answer(TypedDict):
    """The answer of a turn: its text without the list of sources, what it cites, and how well it is backed.

    `confidence` is from 0 to 1; see `answers.confidence` for how it is found. `refused` is the model's own refusal.
    """

    text: str
    citations: list[Source]
    confidence: float
    refused: bool


class AssistantInput(TypedDict):
    """What a run is given: the new messages."""

    messages: Annotated[list[AnyMessage], add_messages]


class AssistantState(AssistantInput):
    """A conversation: its latest messages, and a `summary` of those before.

    Everything else is about the current turn, from one question to its answer. `tokens` are those of its model calls.
    """

    summary: str
    plan: list[PlannedCall]
    steps: int
    tokens: int
    stop_reason: str
    sources: list[Source]
    citations: list[Source]
    answer: Answer


class PlanningState(AssistantState):
    """What the planner sees: the conversation and how many steps LangGraph still allows this run."""

    remaining_steps: RemainingSteps


class AssistantContext(TypedDict, total=False):
    """What a run may set, as `context` or in `config.configurable`; see `read_limits` for the bounds."""

    max_steps: int
    max_tokens_per_run: int
    token_delay: float


@dataclass(frozen=True)
class Limits:
    """How far a turn may go. `token_delay` is in seconds and only slows the offline model, for demonstrations."""

    max_tokens_per_run: int
    max_steps: int = 6
    token_delay: float = 0.0


def read_limits(context: Mapping[str, Any] | None, config: RunnableConfig, max_tokens_per_run: int) -> Limits:
    """The limits of a run: its context, else its configurable values, else the defaults.

    Raises ValueError for `max_steps` outside 1 to 50, `max_tokens_per_run` below 1,000, or `token_delay` outside 0 to
    5 seconds.
    """
    given = {**config.get("configurable", {}), **(context or {})}
    max_steps = given.get("max_steps", Limits.max_steps)
    max_tokens = given.get("max_tokens_per_run", max_tokens_per_run)
    token_delay = given.get("token_delay", Limits.token_delay)
    if not isinstance(max_steps, int) or isinstance(max_steps, bool) or not 1 <= max_steps <= 50:
        raise ValueError(f"max_steps must be a whole number from 1 to 50, got {max_steps!r}")
    if not isinstance(max_tokens, int) or isinstance(max_tokens, bool) or max_tokens < 1000:
        raise ValueError(f"max_tokens_per_run must be a whole number from 1000, got {max_tokens!r}")
    if not isinstance(token_delay, int | float) or isinstance(token_delay, bool) or not 0 <= token_delay <= 5:
        raise ValueError(f"token_delay must be a number of seconds from 0 to 5, got {token_delay!r}")
    return Limits(max_tokens, max_steps, float(token_delay))
