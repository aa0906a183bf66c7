"""Owns the reading of a conversation: where its turn begins, what was asked, what a model is shown of it."""

from collections.abc import Iterator, Sequence

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage

# A model sees at most this many of the latest messages, cut where a turn begins.
SHOWN_MESSAGES = 60


def current_turn(messages: Sequence[BaseMessage]) -> list[BaseMessage]:
    """What happened since the last message of the person, which is not included."""
    return list(messages[_last_human(messages) + 1 :])


def question(messages: Sequence[BaseMessage]) -> str:
    """The text of the last message of the person; empty if there is none."""
    position = _last_human(messages)
    return str(messages[position].text) if position >= 0 else ""


def shown_to_model(messages: Sequence[BaseMessage]) -> list[BaseMessage]:
    """The latest messages, in a form every model accepts.

    A tool call whose result is missing (its run was cancelled or took another course) is answered with a note:
    models refuse a conversation with an open call.
    """
    start = max(len(messages) - SHOWN_MESSAGES, 0)
    beginnings = [index for index, message in enumerate(messages) if isinstance(message, HumanMessage)]
    start = next((index for index in beginnings if index >= start), _last_human(messages))
    return list(_with_answered_calls(messages[max(start, 0) :]))


def _with_answered_calls(messages: Sequence[BaseMessage]) -> Iterator[BaseMessage]:
    answered = {message.tool_call_id for message in messages if isinstance(message, ToolMessage)}
    for message in messages:
        yield message
        if isinstance(message, AIMessage):
            for call in [*message.tool_calls, *message.invalid_tool_calls]:
                if call["id"] not in answered:
                    yield ToolMessage("This call was not carried out.", tool_call_id=call["id"] or "")


def _last_human(messages: Sequence[BaseMessage]) -> int:
    return next((i for i in reversed(range(len(messages))) if isinstance(messages[i], HumanMessage)), -1)
