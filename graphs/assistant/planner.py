"""Owns the planning: the model is asked which tools to call, step by step, within bounds. The answer is left to the
responder.
"""

from typing import Any, Literal

from langchain_core.messages import BaseMessage, SystemMessage
from langchain_core.runnables import RunnableConfig
from langgraph.config import get_config
from langgraph.runtime import Runtime
from langgraph.types import Command, Send

from threadline.graphs.assistant.calls import CheckedCalls, check_calls
from threadline.graphs.assistant.conversation import (
    count_tokens,
    current_turn,
    shown_to_model,
    summary_lines,
    tokens_of,
)
from threadline.graphs.assistant.memory import remember
from threadline.graphs.assistant.model import chat_model, token_settings
from threadline.graphs.assistant.state import (
    AssistantContext,
    Limits,
    PlannedCall,
    PlanningState,
    StopReason,
    read_limits,
)
from threadline.graphs.assistant.tools import TOOLS

PROMPT = """You plan how to answer the person's last message. Call the tools that are needed, several at once where \
they do not depend on each other.
- search_documents finds passages in the team's documents: search before anything is said about their subjects, once \
for each subject, with key words.
- fetch_page reads a web page whose address the person or a source named.
- calculate does every calculation, however small.
- save_note keeps something, only if the person asked for that.
If a tool failed, correct the call, try another tool, or go without it; never repeat a call as it was. As soon as \
nothing more is needed, reply with the one word DONE; somebody else writes the answer."""

# Planning, its tools, and the answer must all fit below LangGraph's recursion limit.
_STEPS_TO_ANSWER = 4
# The answer is asked for with about as many tokens as a plan, and takes some itself.
_TOKENS_TO_ANSWER = 1500

# Keeps the planner's words out of the token stream: they are not part of the answer.
_SILENT = RunnableConfig(tags=["nostream"])

_Next = Command[Literal["planner", "tools", "responder"]]


async def plan(state: PlanningState, runtime: Runtime[AssistantContext]) -> _Next:
    """Decide the next tool calls, or that it is time to answer.

    Raises ValueError if there is no message to answer or a limit is out of bounds, ModelFailed if no model replied.
    """
    limits = read_limits(runtime.context, get_config(), token_settings().max_tokens_per_run)
    messages, update = await _begin(state)
    prompt = _prompt(messages, update["summary"])
    if reason := _stopped(limits, update, state["remaining_steps"], prompt):
        return _answer(update, reason)
    reply = await chat_model(whole=True).bind_tools(TOOLS).ainvoke(prompt, _SILENT)
    update["steps"] += 1
    update["tokens"] += tokens_of(prompt, reply)
    if not reply.tool_calls and not reply.invalid_tool_calls:
        return _answer(update, StopReason.DONE)
    checked = check_calls(reply, current_turn(messages))
    return _carry_out(checked, update)


async def _begin(state: PlanningState) -> tuple[list[BaseMessage], dict[str, Any]]:
    """The messages to plan with, and what the state holds of this turn; a new question begins with nothing."""
    if not state["messages"]:
        raise ValueError('there is no message to answer; send {"messages": [{"role": "user", "content": "..."}]}')
    summary = state.get("summary", "")
    if current_turn(state["messages"]):
        update = {"steps": state.get("steps", 0), "plan": state.get("plan", []), "tokens": state.get("tokens", 0)}
        return list(state["messages"]), {"messages": [], "summary": summary, **update}
    memory = await remember(state["messages"], summary, token_settings().context_tokens // 2)
    begun = {"steps": 0, "plan": [], "tokens": memory.tokens, "sources": [], "citations": []}
    return memory.kept, {"messages": memory.removed, "summary": memory.summary, **begun}


def _prompt(messages: list[BaseMessage], summary: str) -> list[BaseMessage]:
    return [
        SystemMessage("\n\n".join([PROMPT, *summary_lines(summary)])),
        *shown_to_model(messages, token_settings().context_tokens),
    ]


def _stopped(
    limits: Limits, update: dict[str, Any], remaining_steps: int, prompt: list[BaseMessage]
) -> StopReason | None:
    if update["steps"] >= limits.max_steps:
        return StopReason.MAX_STEPS
    if remaining_steps < _STEPS_TO_ANSWER:
        return StopReason.RECURSION_LIMIT
    if update["tokens"] + 2 * count_tokens(prompt) + _TOKENS_TO_ANSWER > limits.max_tokens_per_run:
        return StopReason.TOKEN_BUDGET
    return None


def _answer(update: dict[str, Any], reason: StopReason) -> _Next:
    return Command(update={**update, "stop_reason": reason.value}, goto="responder")


def _carry_out(checked: CheckedCalls, update: dict[str, Any]) -> _Next:
    planned = [PlannedCall(step=update["steps"], tool=call["name"], args=call["args"]) for call in checked.accepted]
    update["messages"] = [*update["messages"], checked.reply, *checked.refusals]
    update["plan"] = [*update["plan"], *planned]
    if checked.is_loop:
        return _answer(update, StopReason.LOOP)
    if not checked.accepted:
        return Command(update=update, goto="planner")
    return Command(update=update, goto=[Send("tools", [call]) for call in checked.accepted])
