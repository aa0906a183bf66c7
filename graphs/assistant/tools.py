"""Owns the tools of the assistant: what each takes, does and says. When they are called is left to the planner."""

import logging
from uuid import NAMESPACE_OID, uuid5

from langchain_core.tools import tool
from langgraph.prebuilt import ToolRuntime

from threadline.graphs.assistant.approval import Verdict, ask_approval
from threadline.graphs.assistant.arithmetic import as_text, evaluate
from threadline.graphs.assistant.citations import place_of
from threadline.graphs.assistant.documents import connected_index
from threadline.graphs.assistant.fetching import fetch
from threadline.graphs.assistant.pages import choose_passages
from threadline.graphs.assistant.state import Passage

logger = logging.getLogger("threadline.assistant")

NOTES = ("notes",)


@tool(response_format="content_and_artifact")
async def search_documents(query: str) -> tuple[str, list[Passage]]:
    """Search the team's documents by full text. Give the key words of one subject; search twice for two subjects."""
    passages = await connected_index().search(query)
    if not passages:
        return f"No passage in the documents matches {query!r}.", []
    return "\n\n".join(_shown(passage) for passage in passages), passages


@tool(response_format="content_and_artifact")
async def fetch_page(url: str, about: str = "") -> tuple[str, list[Passage]]:
    """Fetch a web page by its http or https address. Give key words of what is looked for in `about`."""
    page = await fetch(url)
    passages = choose_passages(page, about)
    if not passages:
        return f"The page {page.url} holds no text.", []
    return "\n\n".join(_shown(passage) for passage in passages), passages


@tool
async def calculate(expression: str) -> str:
    """Calculate an arithmetic expression such as `(12.5 + 3) * 2^10 / sqrt(16)`."""
    return f"{expression.strip()} = {as_text(evaluate(expression))}"


@tool
async def save_note(title: str, text: str, runtime: ToolRuntime) -> str:
    """Save a note for later. A person is asked first and may change or refuse it."""
    if runtime.store is None:
        raise RuntimeError("there is no store in this process, so notes cannot be saved")
    decision = ask_approval("save_note", {"title": title, "text": text})
    if decision.verdict is Verdict.REJECT:
        why = f" The reason given: {decision.reason}" if decision.reason else ""
        return f"The note {title!r} was not saved: it was rejected.{why}"
    # The same call always writes the same key, so that a repeated one does not leave a second note.
    thread_id = runtime.config.get("configurable", {}).get("thread_id")
    key = str(uuid5(NAMESPACE_OID, f"{thread_id}/{runtime.tool_call_id}"))
    await runtime.store.aput(NOTES, key, dict(decision.args))
    return f"The note {decision.args['title']!r} is saved."


def describe_error(error: Exception) -> str:
    """What a model is told about a tool that failed, so that it can do better or go without."""
    logger.warning("tool.failed", extra={"error": f"{type(error).__name__}: {error}"})
    return f"Error: {error}"


def _shown(passage: Passage) -> str:
    return f"{passage['heading']} ({place_of(passage)}):\n{passage['content']}"


TOOLS = (search_documents, fetch_page, calculate, save_note)
