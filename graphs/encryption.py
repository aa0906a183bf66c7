"""Owns the section `encryption` of langgraph.json: loading the project's `langgraph_sdk.Encryption`, and its checks.

What is encrypted with it, and how that is stored, is left to `checkpoints`.
"""

import inspect

from langgraph_sdk.encryption import Encryption

from threadline.graphs.configuration import Configuration
from threadline.graphs.errors import ConfigurationError, GraphImportError
from threadline.graphs.loading import load_object, put_on_path
from threadline.graphs.sections import Section

KEY = "encryption"


def load_encryption(configuration: Configuration) -> Encryption | None:
    """Return the object with the project's handlers, None where none is named. Raises ConfigurationError."""
    if configuration.sections.get(KEY) is None:
        return None
    section = Section(configuration.path, KEY, configuration.sections[KEY])
    location = section.text("path")
    if location is None:
        raise section.wrong("path", 'must name an Encryption object, e.g. "./encryption.py:encryption"')
    put_on_path([*configuration.folders, configuration.folder])
    try:
        found = load_object(configuration.path, f"{KEY}.path", location)
    except GraphImportError as error:
        place = error.file if error.line is None else f"{error.file}, line {error.line}"
        raise ConfigurationError(configuration.path, f"{KEY}.path", f"{place}: {error.text}") from error
    if not isinstance(found, Encryption):
        raise section.wrong("path", f"{location} is a {type(found).__name__}, not a langgraph_sdk.Encryption")
    if problem := _problem(found, has_auth=configuration.sections.get("auth") is not None):
        raise section.wrong("path", f"{location} {problem}")
    return found


def _problem(encryption: Encryption, *, has_auth: bool) -> str | None:
    """Say why nothing could be encrypted, or read again, with these handlers."""
    for name in ("encrypt", "decrypt"):
        if getattr(encryption, f"_blob_{name}or") is None:
            return f"has no `@{name}.blob` handler, which everything that is no JSON field needs"
    if (encryption._json_encryptor is None) != (encryption._json_decryptor is None):
        missing = "encrypt" if encryption._json_encryptor is None else "decrypt"
        return f"has no `@{missing}.json` handler, without which the other one is of no use"
    handler = encryption._context_handler
    if handler is None:
        return None
    if not inspect.iscoroutinefunction(handler) or len(inspect.signature(handler).parameters) != 2:
        return "has an `@context` handler that is no async function of (user, ctx)"
    return None if has_auth else "has an `@context` handler, which asks who the user is: that takes `auth`"
