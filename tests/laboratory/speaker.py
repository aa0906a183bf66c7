"""Owns the chat model of the invariant tests."""

from collections.abc import AsyncIterator
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

WORDS = ("one ", "two ", "three ")


class Speaker(BaseChatModel):
    """A chat model that streams the same three words."""

    @property
    def _llm_type(self) -> str:
        return "speaker"

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=AIMessage("".join(WORDS)))])

    async def _astream(
        self, messages: list[BaseMessage], *args: Any, **kwargs: Any
    ) -> AsyncIterator[ChatGenerationChunk]:
        for word in WORDS:
            chunk = ChatGenerationChunk(message=AIMessageChunk(content=word, id="said"))
            if run_manager := kwargs.get("run_manager"):
                await run_manager.on_llm_new_token(word, chunk=chunk)
            yield chunk
