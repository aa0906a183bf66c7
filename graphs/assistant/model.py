"""Owns the choice of the chat model: an OpenAI-compatible one when a key is configured, the offline one otherwise.

Where key, address and name come from is left to the worker, which calls `configure` once before it runs anything.
"""

from dataclasses import dataclass, field
from datetime import timedelta

from langchain_core.language_models import BaseChatModel

from threadline.graphs.assistant.offline_model import OfflineChatModel


class ModelFailed(RuntimeError):
    """The model gave no usable reply; the message says which model, what it did, and how often it was asked."""


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """How to reach an OpenAI-compatible model. Without `base_url` it is OpenAI's own service.

    With `answers_only` it writes the answers, and the offline model plans: for models too small to call tools.
    `fallback` names the model of the same service that is asked when `model` fails for good. `timeout` is how long a
    model may be silent, before its reply and within it; `deadline` how long a call may take with all its retries.
    """

    api_key: str = field(repr=False)
    model: str
    base_url: str | None = None
    fallback: str | None = None
    timeout: timedelta = timedelta(seconds=60)
    deadline: timedelta = timedelta(seconds=300)
    max_retries: int = 2
    answers_only: bool = False


@dataclass(frozen=True, slots=True)
class TokenSettings:
    """How many tokens a model is shown of a conversation, and how many a run may use if it says nothing else."""

    context_tokens: int = 32_000
    max_tokens_per_run: int = 100_000


@dataclass(frozen=True, slots=True)
class _Models:
    """One model twice: `live` shows its reply as it comes, `whole` only when it is complete and good.

    Without `whole` the offline model stands in for it.
    """

    live: BaseChatModel
    whole: BaseChatModel | None


_online: _Models | None = None
_tokens = TokenSettings()


def configure(settings: ModelSettings | None, tokens: TokenSettings | None = None) -> None:
    """Choose the model of this process's assistants, and their tokens; None means the offline one, the defaults."""
    global _online, _tokens
    _online = None if settings is None else _open_ai(settings)
    _tokens = tokens or TokenSettings()


def chat_model(token_delay: float = 0.0, *, whole: bool = False) -> BaseChatModel:
    """The model to use now. `token_delay`, in seconds, slows only the offline model.

    A reply that is asked for as a `whole` is asked for again, or of the fallback, if it breaks off in the middle.
    """
    online = None if _online is None else _online.whole if whole else _online.live
    return online or OfflineChatModel(token_delay=token_delay)


def plans_offline() -> bool:
    """Whether whole replies of this process come from the offline model."""
    return _online is None or _online.whole is None


def token_settings() -> TokenSettings:
    """The bounds of this process's assistants."""
    return _tokens


def _open_ai(settings: ModelSettings) -> _Models:
    # Imported here because it takes half a second, which an offline process need not pay.
    from threadline.graphs.assistant.online_model import OnlineChatModel, open_service

    names = [settings.model, *([settings.fallback] if settings.fallback else [])]
    live = OnlineChatModel(
        models=[open_service(settings, name) for name in names],
        silence=settings.timeout,
        deadline=settings.deadline,
        attempts=settings.max_retries + 1,
    )
    return _Models(live, None if settings.answers_only else live.model_copy(update={"is_whole": True}))
