"""Owns an assistant's fields as they are stored; `config["configurable"]` and `context` are two names of one thing.

Which of a run's and an assistant's keys wins is decided where runs are requested.
"""

from uuid import UUID

from threadline.runs.metadata import encode_metadata, refuse_unstorable
from threadline.runs.model import JsonObject


def join_configuration(
    config: JsonObject, context: JsonObject, new_config: JsonObject | None, new_context: JsonObject | None
) -> tuple[JsonObject, JsonObject]:
    """Return config and context once they were changed: `configurable` and context stay one thing.

    A new context keeps what else the config holds; a new config without `configurable` leaves the context alone.
    """
    if new_context:
        kept = config if new_config is None else new_config
        return kept | {"configurable": new_context}, new_context
    if new_config is not None:
        return new_config, new_config.get("configurable") or ({} if new_context is not None else context)
    if new_context is not None:
        return {key: value for key, value in config.items() if key != "configurable"}, {}
    return config, context


def encode_assistant(assistant_id: UUID, fields: JsonObject) -> JsonObject:
    """Return the fields as parameters of a statement. Raises Invalid for what cannot be stored."""
    for name in ("name", "description"):
        refuse_unstorable(fields[name], name)
    encoded = {name: encode_metadata(fields[name], name) for name in ("config", "context", "metadata")}
    return fields | encoded | {"assistant_id": assistant_id}
