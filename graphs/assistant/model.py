"""Owns the choice of the chat model: an OpenAI-compatible one when a key is configured, the offline one otherwise.

Where key, address and name come from is left to the worker, which calls `configure` once before it runs anything.
"""

from dataclasses import dataclass, field
from datetime import timedelta

from langchain_core.language_models import BaseChatModel
from pydantic import SecretStr

from threadline.graphs.assistant.offline_model import OfflineChatModel


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """How to reach an OpenAI-compatible model. Without `base_url` it is OpenAI's own service."""

    api_key: str = field(repr=False)
    model: str
    base_url: str | None = None
    timeout: timedelta = timedelta(seconds=60)  # for one request; a stream may take longer in all
    max_retries: int = 2


_online: BaseChatModel | None = None


def configure(settings: ModelSettings | None) -> None:
    """Choose the model of this process's assistants; None means the offline one."""
    global _online
    _online = None if settings is None else _open_ai(settings)


def chat_model(token_delay: float = 0.0) -> BaseChatModel:
    """The model to use now. `token_delay`, in seconds, slows only the offline model."""
    return _online if _online is not None else OfflineChatModel(token_delay=token_delay)


def _open_ai(settings: ModelSettings) -> BaseChatModel:
    # Imported here because it takes half a second, which an offline process need not pay.
    from langchain_openai import ChatOpenAI

    return ChatOpenAI(
        model=settings.model,
        api_key=SecretStr(settings.api_key),
        base_url=settings.base_url,
        timeout=settings.timeout.total_seconds(),
        max_retries=settings.max_retries,
    )
