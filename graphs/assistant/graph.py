"""Owns the wiring of the assistant; what its nodes do is said in their modules. Nothing is opened at import."""

from langgraph.graph import END, START, StateGraph
from langgraph.prebuilt import ToolNode

from threadline.graphs.assistant.planner import plan
from threadline.graphs.assistant.responder import respond
from threadline.graphs.assistant.state import AssistantContext, AssistantInput, AssistantState
from threadline.graphs.assistant.tools import TOOLS, describe_error

builder = StateGraph(AssistantState, input_schema=AssistantInput, context_schema=AssistantContext)
builder.add_node("planner", plan)
# Each call is a task of its own: calls run side by side, and one that waits for a person repeats no other.
builder.add_node("tools", ToolNode(TOOLS, handle_tool_errors=describe_error))
builder.add_node("responder", respond)
builder.add_edge(START, "planner")
builder.add_edge("tools", "planner")
builder.add_edge("responder", END)

graph = builder.compile(name="assistant")
