"""Owns what it takes to talk to a graph: the key `messages`, and how messages look there, in LangChain's JSON."""

import json
from typing import Any

from threadline.runs.model import JsonObject

MESSAGES = "messages"


def takes_messages(schema: JsonObject) -> bool:
    """Whether a graph of this input schema can be talked to."""
    return MESSAGES in (schema.get("properties") or {})


def user_message(content: str | list[JsonObject], message_id: str | None = None) -> JsonObject:
    """Return what a user says, as a graph takes it."""
    message: JsonObject = {"role": "user", "content": content}
    return message if message_id is None else {**message, "id": message_id}


def text_of(content: Any) -> str:
    """Return the text in a message's content, which is one or a list of blocks."""
    if isinstance(content, str):
        return content
    blocks = content if isinstance(content, list) else []
    texts = [
        block if isinstance(block, str) else block.get("text") for block in blocks if isinstance(block, str | dict)
    ]
    return "".join(text for text in texts if isinstance(text, str))


def shown(value: Any) -> str:
    """Return a value as a person may read it."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
