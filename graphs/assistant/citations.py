"""Owns the way from found passages to a cited answer: numbering sources, reading markers, listing what was cited."""

import re
from collections.abc import AsyncIterator, Sequence
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LangSmithParams
from langchain_core.messages import AIMessageChunk, BaseMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

from threadline.graphs.assistant.state import Passage, Source

# Their results are passages that can be cited.
CITED_TOOLS = frozenset({"search_documents", "fetch_page"})

_MARKERS = re.compile(r"\[(\d+(?:\s*,\s*\d+)*)\]")


def number_sources(turn: Sequence[BaseMessage]) -> list[Source]:
    """The passages this turn's searches and pages brought, each once, numbered from 1 in the order they were found."""
    sources: list[Source] = []
    seen: set[tuple[str, int]] = set()
    for message in turn:
        if isinstance(message, ToolMessage) and message.name in CITED_TOOLS and message.artifact:
            for passage in message.artifact:
                if (passage["path"], passage["position"]) not in seen:
                    seen.add((passage["path"], passage["position"]))
                    sources.append(_numbered(passage, len(sources) + 1))
    return sources


def cited_sources(text: str, sources: Sequence[Source]) -> list[Source]:
    """The sources whose markers, such as `[1]` or `[1, 2]`, stand in the text; unknown numbers are ignored."""
    numbers = {int(number) for marker in _MARKERS.findall(text) for number in marker.split(",")}
    return [source for source in sources if source["number"] in numbers]


def source_list(sources: Sequence[Source]) -> str:
    """The list that closes an answer: number, heading and place; empty without sources."""
    if not sources:
        return ""
    return "\n\nSources:\n" + "\n".join(f"[{s['number']}] {s['heading']}: {place_of(s)}" for s in sources)


def place_of(passage: Passage) -> str:
    """Where a passage stands: path or address, page if there are pages, passage."""
    page = passage.get("page")
    return f"{passage['path']}{f', page {page}' if page else ''}, passage {passage['position']}"


def _numbered(passage: Passage, number: int) -> Source:
    return Source(**passage, number=number)


class CitingChatModel(BaseChatModel):
    """A model whose answers end with the list of the sources they cite.

    The list is part of the model's own reply, so that every way of streaming shows it like the rest.
    """

    model: BaseChatModel
    sources: list[Source]

    @property
    def _llm_type(self) -> str:
        return self.model._llm_type

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        return self.model._get_ls_params(stop, **kwargs)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return self._with_list(self.model._generate(messages, stop, **kwargs))

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return self._with_list(await self.model._agenerate(messages, stop, **kwargs))

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        text, message_id = "", None
        async for chunk in self.model._astream(messages, stop, **kwargs):
            if isinstance(chunk.message, AIMessageChunk):
                # The list comes after what the inner model takes for its end.
                chunk.message.chunk_position = None
            text += chunk.text
            yield chunk
            message_id = chunk.message.id
        closing = source_list(cited_sources(text, self.sources))
        if closing:
            yield ChatGenerationChunk(message=AIMessageChunk(content=closing, id=message_id))

    def _with_list(self, result: ChatResult) -> ChatResult:
        generation = result.generations[0]
        text = str(generation.message.text)
        closing = source_list(cited_sources(text, self.sources))
        message = generation.message.model_copy(update={"content": text + closing}) if closing else generation.message
        kept = ChatGeneration(message=message, generation_info=generation.generation_info)
        return ChatResult(generations=[kept], llm_output=result.llm_output)
