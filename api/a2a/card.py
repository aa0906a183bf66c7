"""Owns the card that introduces an assistant to other agents."""

from importlib.metadata import version

from a2a.server.request_handlers.response_helpers import agent_card_to_dict
from a2a.types import AgentCapabilities, AgentCard, AgentExtension, AgentInterface, AgentSkill

from threadline.runs.model import Assistant, JsonObject

HISTORY_SCOPE = "LangGraph-A2A-History-Scope"
_TEXT = "text/plain"
_JSON = "application/json"


def introduce(assistant: Assistant, url: str) -> JsonObject:
    """Return the card, in the words of both versions of the protocol; `url` is where the assistant is spoken to."""
    description = assistant.description or f"The {assistant.name} assistant"
    scope = AgentExtension(
        uri=f"urn:langgraph:a2a:{HISTORY_SCOPE.lower()}",
        description=f"With the header {HISTORY_SCOPE}: context, a task's history is that of the whole conversation; "
        "with task, and without the header, it begins with the task's first message.",
    )
    skill = AgentSkill(
        id=assistant.graph_id,
        name=assistant.name,
        description=description,
        tags=["langgraph"],
        input_modes=[_TEXT, _JSON],
        output_modes=[_TEXT, _JSON],
    )
    card = AgentCard(
        name=assistant.name,
        description=description,
        version=str(assistant.version),
        supported_interfaces=[
            AgentInterface(url=url, protocol_binding="JSONRPC", protocol_version="1.0"),
            AgentInterface(url=url, protocol_binding="JSONRPC", protocol_version="0.3"),
        ],
        capabilities=AgentCapabilities(streaming=True, push_notifications=False, extensions=[scope]),
        default_input_modes=[_TEXT, _JSON],
        default_output_modes=[_TEXT, _JSON],
        skills=[skill],
    )
    card.provider.organization = f"Threadline {version('threadline')}"
    card.provider.url = url
    shown: JsonObject = agent_card_to_dict(card)
    return shown
