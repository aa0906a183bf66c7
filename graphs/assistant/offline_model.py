"""Owns the chat model that works without a key or a network: it plans by rules and answers by extraction.

The same messages always give the same reply. It knows this assistant's tools and nothing else.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any
from uuid import NAMESPACE_OID, uuid5

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, SystemMessage, ToolCall
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool

from threadline.graphs.assistant.conversation import current_turn, question
from threadline.graphs.assistant.extraction import extract_answer
from threadline.graphs.assistant.rules import plan_calls
from threadline.graphs.assistant.state import Source

MODEL_NAME = "threadline-offline"

_WORD = re.compile(r"\S+\s*|\s+")


class OfflineChatModel(BaseChatModel):
    """A chat model for demonstrations and tests.

    With tools bound it replies with the calls a question asks for, and with nothing once it has their results.
    Without tools it answers from the results in the conversation; the numbered sources come in the system
    message's `additional_kwargs["sources"]`. `token_delay` is the pause after each streamed word, in seconds.
    """

    token_delay: float = 0.0

    @property
    def _llm_type(self) -> str:
        return MODEL_NAME

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Let the model call these tools; `tool_choice` is accepted and has no effect."""
        return self.bind(tools=[convert_to_openai_tool(tool) for tool in tools], **kwargs)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=_reply(messages, kwargs.get("tools")))])

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        yield from _chunks(_reply(messages, kwargs.get("tools")))

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        for chunk in _chunks(_reply(messages, kwargs.get("tools"))):
            yield chunk
            if self.token_delay > 0:
                await asyncio.sleep(self.token_delay)


def _reply(messages: Sequence[BaseMessage], tools: Sequence[dict[str, Any]] | None) -> AIMessage:
    metadata = {"model_name": MODEL_NAME, "offline": True}
    turn = current_turn(messages)
    if tools is None:
        return AIMessage(extract_answer(turn, _sources(messages)), response_metadata=metadata)
    calls = [] if turn else _planned(messages, {tool["function"]["name"] for tool in tools})
    return AIMessage("", tool_calls=calls, response_metadata=metadata)


def _planned(messages: Sequence[BaseMessage], names: set[str]) -> list[ToolCall]:
    asked = next((message for message in reversed(messages) if isinstance(message, HumanMessage)), None)
    seed = f"{asked.id if asked else None}/{question(messages)}/{len(messages)}"
    return [
        ToolCall(name=name, args=args, id=f"call_{uuid5(NAMESPACE_OID, f'{seed}/{index}').hex}", type="tool_call")
        for index, (name, args) in enumerate(plan_calls(question(messages)))
        if name in names
    ]


def _sources(messages: Sequence[BaseMessage]) -> list[Source]:
    prompts = [message for message in messages if isinstance(message, SystemMessage)]
    return [source for prompt in prompts for source in prompt.additional_kwargs.get("sources", [])]


def _chunks(reply: AIMessage) -> Iterator[ChatGenerationChunk]:
    for word in _WORD.findall(str(reply.text)):
        yield ChatGenerationChunk(message=AIMessageChunk(content=word))
    calls = [
        tool_call_chunk(name=call["name"], args=json.dumps(call["args"]), id=call["id"], index=index)
        for index, call in enumerate(reply.tool_calls)
    ]
    # Only once: the values of metadata that several chunks carry would be joined.
    last = AIMessageChunk(content="", tool_call_chunks=calls, response_metadata=reply.response_metadata)
    yield ChatGenerationChunk(message=last)
