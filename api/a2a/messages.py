"""Owns how a message of A2A becomes one of LangChain, and back."""

import base64
from collections.abc import Iterable, Sequence
from typing import Any

from a2a.helpers.proto_helpers import get_data_parts, new_data_part, new_text_part
from a2a.types import Message, Part, Role
from google.protobuf.json_format import MessageToDict

from threadline.api.conversation import shown, text_of
from threadline.runs.model import JsonObject

_ROLES = {"human": Role.ROLE_USER, "user": Role.ROLE_USER, "ai": Role.ROLE_AGENT, "assistant": Role.ROLE_AGENT}
_KINDS = ("image", "audio", "video")


def content_of(parts: Iterable[Part]) -> str | list[JsonObject]:
    """Return what a graph is told: one text, or blocks where there is more than text. Data is told as JSON."""
    blocks = [_block(part) for part in parts]
    texts = [block["text"] for block in blocks if block["type"] == "text"]
    return "\n".join(texts) if len(texts) == len(blocks) else blocks


def answer_of(parts: Sequence[Part]) -> Any:
    """Return what a question is answered with: the data of a single part of data, else the text."""
    data = get_data_parts(parts)
    if len(parts) == 1 and data:
        return data[0]
    content = content_of(parts)
    return content if isinstance(content, str) else text_of(content)


def message_of(message: JsonObject, task_id: str, context_id: str) -> Message | None:
    """Return a graph's message as A2A tells it; None for one without text, and for those of tools and systems."""
    role = _ROLES.get(str(message.get("type") or message.get("role")))
    text = text_of(message.get("content"))
    if role is None or not text:
        return None
    return Message(
        message_id=str(message.get("id") or ""),
        role=role,
        parts=[new_text_part(text)],
        task_id=task_id,
        context_id=context_id,
    )


def question_of(interrupts: Sequence[JsonObject], message_id: str, task_id: str, context_id: str) -> Message:
    """Return what the graph waits for an answer to: for people as text, for programs as data."""
    asked = [{"id": each.get("id"), "value": each.get("value")} for each in interrupts]
    text = "\n".join(shown(each["value"]) for each in asked)
    parts = [new_text_part(text or "Go on?"), new_data_part({"interrupts": asked})]
    return Message(message_id=message_id, role=Role.ROLE_AGENT, parts=parts, task_id=task_id, context_id=context_id)


def _block(part: Part) -> JsonObject:
    match part.WhichOneof("content"):
        case "url":
            return _file(part) | {"url": part.url}
        case "raw":
            return _file(part) | {"base64": base64.b64encode(part.raw).decode("ascii")}
        case "data":
            return {"type": "text", "text": shown(MessageToDict(part.data))}
        case _:
            return {"type": "text", "text": part.text}


def _file(part: Part) -> JsonObject:
    """Return LangChain's block for a file, without what is in it."""
    kind = part.media_type.partition("/")[0]
    block: JsonObject = {"type": kind if kind in _KINDS else "file"}
    if part.media_type:
        block["mime_type"] = part.media_type
    if part.filename:
        block["filename"] = part.filename
    return block
