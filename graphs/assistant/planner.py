"""Owns the planning: the model is asked which tools to call, step by step, within a bound. The answer is left to
the responder.
"""

from typing import Any, Literal

from langchain_core.messages import AIMessage, SystemMessage, ToolMessage
from langchain_core.runnables import RunnableConfig
from langgraph.config import get_config
from langgraph.runtime import Runtime
from langgraph.types import Command, Send

from threadline.graphs.assistant.conversation import current_turn, shown_to_model
from threadline.graphs.assistant.model import chat_model
from threadline.graphs.assistant.state import AssistantContext, PlannedCall, PlanningState, read_limits
from threadline.graphs.assistant.tools import TOOLS

PROMPT = """You plan how to answer the person's last message. Call the tools that are needed, several at once where \
they do not depend on each other.
- search_documents finds passages in the team's documents: search before anything is said about their subjects, once \
for each subject, with key words.
- fetch_page reads a web page whose address the person or a source named.
- calculate does every calculation, however small.
- save_note keeps something, only if the person asked for that.
If a tool failed, correct the call or go without it. As soon as nothing more is needed, reply with the one word DONE; \
somebody else writes the answer."""

# Planning, its tools, and the answer must all fit below LangGraph's recursion limit.
_STEPS_TO_ANSWER = 4

# Keeps the planner's words out of the token stream: they are not part of the answer.
_SILENT = RunnableConfig(tags=["nostream"])


async def plan(
    state: PlanningState, runtime: Runtime[AssistantContext]
) -> Command[Literal["planner", "tools", "responder"]]:
    """Decide the next tool calls, or that it is time to answer.

    Raises ValueError if there is no message to answer or a limit is out of bounds.
    """
    limits = read_limits(runtime.context, get_config())
    update = _begin(state)
    steps = update["steps"]
    if steps >= limits.max_steps or state["remaining_steps"] < _STEPS_TO_ANSWER:
        return Command(update=update, goto="responder")
    update["steps"] = steps + 1
    reply = await _ask(state)
    if not reply.tool_calls and not reply.invalid_tool_calls:
        return Command(update=update, goto="responder")
    update["messages"] = [reply, *_refusals(reply)]
    update["plan"] = [*update["plan"], *_planned(reply, steps + 1)]
    if not reply.tool_calls:
        return Command(update=update, goto="planner")
    return Command(update=update, goto=[Send("tools", [call]) for call in reply.tool_calls])


def _begin(state: PlanningState) -> dict[str, Any]:
    """What the state holds of this turn; a new question begins with nothing."""
    if not state["messages"]:
        raise ValueError('there is no message to answer; send {"messages": [{"role": "user", "content": "..."}]}')
    if current_turn(state["messages"]):
        return {"steps": state.get("steps", 0), "plan": state.get("plan", [])}
    return {"steps": 0, "plan": [], "sources": [], "citations": []}


async def _ask(state: PlanningState) -> AIMessage:
    model = chat_model().bind_tools(TOOLS)
    prompt = [SystemMessage(PROMPT), *shown_to_model(state["messages"])]
    return await model.ainvoke(prompt, _SILENT)


def _refusals(reply: AIMessage) -> list[ToolMessage]:
    return [
        ToolMessage(
            f"The arguments are not valid JSON: {call['error'] or call['args']}. Call it again.",
            tool_call_id=call["id"] or "",
            name=call["name"],
            status="error",
        )
        for call in reply.invalid_tool_calls
    ]


def _planned(reply: AIMessage, step: int) -> list[PlannedCall]:
    return [PlannedCall(step=step, tool=call["name"], args=call["args"]) for call in reply.tool_calls]
