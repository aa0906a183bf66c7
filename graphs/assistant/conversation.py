"""Owns the reading of a conversation: where its turns begin, what was asked, what a model is shown of it."""

from collections.abc import Iterator, Sequence

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.messages.utils import count_tokens_approximately

_CUT = "\n[... the rest is left out here]"
_CHARACTERS_PER_TOKEN = 4
_SMALLEST_SHARE = 50


def current_turn(messages: Sequence[BaseMessage]) -> list[BaseMessage]:
    """What happened since the last message of the person, which is not included."""
    return list(messages[_last_human(messages) + 1 :])


def question(messages: Sequence[BaseMessage]) -> str:
    """The text of the last message of the person; empty if there is none."""
    position = _last_human(messages)
    return str(messages[position].text) if position >= 0 else ""


def turns(messages: Sequence[BaseMessage]) -> list[list[BaseMessage]]:
    """The conversation in turns; each but perhaps the first begins with a message of the person."""
    found: list[list[BaseMessage]] = []
    for message in messages:
        if not found or isinstance(message, HumanMessage):
            found.append([])
        found[-1].append(message)
    return found


def count_tokens(messages: Sequence[BaseMessage]) -> int:
    """About how many tokens a model reads of these messages: a fourth of their characters."""
    return count_tokens_approximately(messages)


def tokens_of(prompt: Sequence[BaseMessage], reply: AIMessage) -> int:
    """The tokens of a call as the service counted them, else about as many as there are."""
    used = reply.usage_metadata
    return used["total_tokens"] if used and used["total_tokens"] else count_tokens([*prompt, reply])


def summary_lines(summary: str) -> list[str]:
    """What a model is told of the turns that it is not shown."""
    return [f"Earlier in this conversation:\n{summary}"] if summary else []


def shown_to_model(messages: Sequence[BaseMessage], max_tokens: int) -> list[BaseMessage]:
    """The latest turns that fit, at least the current one, in a form every model accepts.

    Of a turn that alone is too long, each message that takes more than its share is cut at the end. A tool call
    whose result is missing (its run was cancelled or took another course) is answered with a note: models refuse a
    conversation with an open call.
    """
    *earlier, latest = turns(messages) or [[]]
    shown = list(_with_answered_calls(latest))
    left = max_tokens - count_tokens(shown)
    if left < 0:
        return shorten(shown, max_tokens)
    for turn in reversed(earlier):
        answered = list(_with_answered_calls(turn))
        left -= count_tokens(answered)
        if left < 0:
            break
        shown = [*answered, *shown]
    return shown


def shorten(messages: Sequence[BaseMessage], max_tokens: int) -> list[BaseMessage]:
    """The messages with the longest cut to one length, so that all of them fit, roughly."""
    if count_tokens(messages) <= max_tokens:
        return list(messages)
    lengths = sorted(count_tokens([message]) for message in messages)
    left, share = max_tokens, _SMALLEST_SHARE
    for position, length in enumerate(lengths):
        share = max(left // (len(lengths) - position), _SMALLEST_SHARE)
        if length > share:
            break
        left -= length
    return [_cut(message, share) if count_tokens([message]) > share else message for message in messages]


def _cut(message: BaseMessage, tokens: int) -> BaseMessage:
    text = str(message.text)
    return message.model_copy(update={"content": text[: tokens * _CHARACTERS_PER_TOKEN] + _CUT})


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
