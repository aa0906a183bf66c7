"""Owns the asking of an OpenAI-compatible model: deadlines, retries, the fallback, and the end of a bad reply.

What a failure means is left to `faults`. Importing this takes half a second.
"""

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from datetime import timedelta
from functools import reduce
from operator import add
from time import monotonic
from typing import Any, cast

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.language_models.chat_models import agenerate_from_stream
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from threadline.graphs.assistant.faults import FAULTS, BadReply, Fault, pause, understand
from threadline.graphs.assistant.model import ModelFailed, ModelSettings

logger = logging.getLogger("threadline.model")

# Twenty times the longest answer that is of use: past it, a model repeats itself.
MAX_REPLY = 200_000


class OpenAIChatModel(ChatOpenAI):
    """A chat model that says when it refuses, also in a stream; the library drops that."""

    def _convert_chunk_to_generation_chunk(
        self, chunk: dict[str, Any], default_chunk_class: type, base_generation_info: dict[str, Any] | None
    ) -> ChatGenerationChunk | None:
        converted = super()._convert_chunk_to_generation_chunk(chunk, default_chunk_class, base_generation_info)
        choices = chunk.get("choices") or [{}]
        refusal = (choices[0].get("delta") or {}).get("refusal")
        if converted is not None and refusal:
            converted.message.content = refusal
            converted.message.additional_kwargs["refusal"] = refusal
            converted.text = refusal
        return converted


def open_service(settings: ModelSettings, name: str) -> OpenAIChatModel:
    """The model of a name, which waits and retries nothing by itself."""
    return OpenAIChatModel(
        model=name,
        api_key=SecretStr(settings.api_key),
        base_url=settings.base_url,
        timeout=settings.deadline.total_seconds(),
        stream_chunk_timeout=None,
        max_retries=0,
    )


class OnlineChatModel(BaseChatModel):
    """Asks the first model, again after a pause if its failure may pass, and then the others.

    A reply of which something was shown already cannot be begun anew: it ends in ModelFailed, unless `is_whole`.
    """

    models: Sequence[ChatOpenAI]
    silence: timedelta
    deadline: timedelta
    attempts: int
    is_whole: bool = False

    @property
    def _llm_type(self) -> str:
        return self.models[0]._llm_type

    @property
    def model_name(self) -> str:
        """The name of the model that is asked first."""
        return self.models[0].model_name

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Let the model call these tools."""
        choice = {"tool_choice": tool_choice} if tool_choice else {}
        return self.bind(tools=[convert_to_openai_tool(tool) for tool in tools], **choice, **kwargs)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return asyncio.run(self._agenerate(messages, stop, **kwargs))

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        # Streamed, too: only then silence can be told from a long answer.
        whole = self.model_copy(update={"is_whole": True})
        return await agenerate_from_stream(whole._astream(messages, stop, **kwargs))

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        ends = monotonic() + self.deadline.total_seconds()
        faults: list[str] = []
        for model in self.models:
            for attempt in range(self.attempts):
                shown = False
                try:
                    async with aclosing(self._ask(model, ends, messages, stop, kwargs)) as reply:
                        async for chunk in reply:
                            shown = True
                            yield chunk
                    return
                except (*FAULTS, TimeoutError) as error:
                    fault = understand(error)
                    faults.append(f"{model.model_name} {fault.did}")
                    self._log(model, attempt, fault)
                    if shown:
                        raise ModelFailed(f"the answer broke off: {faults[-1]}") from error
                wait = pause(attempt, fault.retry_after)
                if not fault.is_passing or attempt + 1 == self.attempts or monotonic() + wait >= ends:
                    break
                await asyncio.sleep(wait)
        raise ModelFailed(f"no model answered: {_listed(faults)}")

    async def _ask(
        self,
        model: ChatOpenAI,
        ends: float,
        messages: list[BaseMessage],
        stop: list[str] | None,
        options: dict[str, Any],
    ) -> AsyncGenerator[ChatGenerationChunk, None]:
        """One attempt's reply, checked; all at once if it is wanted as a whole."""
        reply = cast("AsyncGenerator[ChatGenerationChunk, None]", model._astream(messages, stop, **options))
        # Closed here and now, or the connection would stay open for as long as nobody collects it.
        async with aclosing(reply):
            chunks = _checked(self._in_time(reply, ends), has_tools=bool(options.get("tools")))
            if self.is_whole:
                yield _whole([chunk async for chunk in chunks])
            else:
                async for chunk in chunks:
                    yield chunk

    async def _in_time(
        self, reply: AsyncIterator[ChatGenerationChunk], ends: float
    ) -> AsyncIterator[ChatGenerationChunk]:
        """The chunks of a reply. Raises TimeoutError if one keeps everybody waiting."""
        while True:
            patience = min(self.silence.total_seconds(), ends - monotonic())
            async with asyncio.timeout(patience):
                try:
                    chunk = await anext(reply)
                except StopAsyncIteration:
                    return
            yield chunk

    def _log(self, model: ChatOpenAI, attempt: int, fault: Fault) -> None:
        facts = {"model": model.model_name, "attempt": attempt + 1, "fault": fault.did}
        logger.warning("model.failed", extra=facts)


async def _checked(reply: AsyncIterator[ChatGenerationChunk], *, has_tools: bool) -> AsyncIterator[ChatGenerationChunk]:
    """The chunks. Raises BadReply at the end of an empty reply or one cut off, or within one that has no end."""
    length, reason = 0, None
    async for chunk in reply:
        length += len(chunk.text.strip())
        if isinstance(chunk.message, AIMessageChunk):
            length += sum(1 + len(call["args"] or "") for call in chunk.message.tool_call_chunks)
        if length > MAX_REPLY:
            raise BadReply(f"came to no end within {MAX_REPLY} characters")
        reason = (chunk.generation_info or {}).get("finish_reason") or reason
        yield chunk
    if reason is None:
        raise BadReply("broke off" if length else "sent no reply")
    # With tools, to say nothing means that no tool is needed.
    if length == 0 and not has_tools:
        raise BadReply("filtered its reply" if reason == "content_filter" else "replied with nothing")


def _whole(chunks: Sequence[ChatGenerationChunk]) -> ChatGenerationChunk:
    """The chunks as one, in which arguments that are no JSON object are marked as such.

    The library would complete them by guessing: a note that broke off would be saved as if it were meant so.
    """
    whole = reduce(add, chunks)
    message = whole.message
    if isinstance(message, AIMessageChunk) and message.tool_call_chunks:
        calls = [{**call, "args": _honest(call["args"])} for call in message.tool_call_chunks]
        message = AIMessageChunk(**{**message.model_dump(exclude={"tool_calls", "type"}), "tool_call_chunks": calls})
    return ChatGenerationChunk(message=message, generation_info=whole.generation_info)


def _honest(arguments: str | None) -> str:
    try:
        parsed = json.loads(arguments or "{}")
    except ValueError:
        parsed = None
    # Text within quotes is JSON, but no object, so that nobody can take it for arguments.
    return arguments or "{}" if isinstance(parsed, dict) else json.dumps(arguments)


def _listed(faults: Sequence[str]) -> str:
    """The faults in order, each once, with how often it came."""
    counts = {fault: faults.count(fault) for fault in faults}
    return "; ".join(f"{fault} ({count} times)" if count > 1 else fault for fault, count in counts.items())
