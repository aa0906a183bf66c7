"""Owns the count of tokens that each node of a run spends; the recorder puts it beside the node's end in the log."""

from typing import Any
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage
from langchain_core.messages.ai import UsageMetadata, add_usage
from langchain_core.outputs import ChatGeneration, LLMResult


class TokenMeter(BaseCallbackHandler):
    """Counts what models report, by the task that called them; hears of model calls only, from any thread.

    A model that reports no usage is not counted. Calls of a subgraph's nodes count for these nodes, not again for
    the node that is the subgraph, so that the sum over all nodes is the run's.
    """

    run_inline = True  # a call of microseconds is not worth a hop to a thread
    ignore_chain = True
    ignore_agent = True
    ignore_retriever = True
    ignore_retry = True
    ignore_custom_event = True

    def __init__(self) -> None:
        self._tasks: dict[UUID, str] = {}
        self._spent: dict[str, UsageMetadata] = {}

    def take(self, task_id: str) -> UsageMetadata | None:
        """Return what the task spent so far, and forget it."""
        return self._spent.pop(task_id, None)

    def on_chat_model_start(
        self,
        serialized: dict[str, Any],
        messages: list[list[Any]],
        *,
        run_id: UUID,
        metadata: dict[str, Any] | None = None,
        **_: Any,
    ) -> None:
        """Remember whose call this is."""
        namespace = (metadata or {}).get("langgraph_checkpoint_ns")
        if namespace:
            self._tasks[run_id] = namespace.rpartition(":")[2]

    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **_: Any) -> None:
        """Add what the model reports."""
        task_id = self._tasks.pop(run_id, None)
        if task_id is None:
            return
        for generations in response.generations:
            for generation in generations:
                message = generation.message if isinstance(generation, ChatGeneration) else None
                if isinstance(message, AIMessage) and message.usage_metadata:
                    self._spent[task_id] = add_usage(self._spent.get(task_id), message.usage_metadata)

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **_: Any) -> None:
        """A call that failed reports nothing."""
        self._tasks.pop(run_id, None)
