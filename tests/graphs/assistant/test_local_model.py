"""Owns the checks of the local model, a server that we did not write: it answers, streams, and dies with its parent."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from threadline.graphs.assistant import model
from threadline.graphs.assistant.documents import DocumentIndex
from threadline.graphs.assistant.local_model import LocalModel, NoLocalModel, packaged_model, start_local_model
from threadline.graphs.factories import Graph
from threadline.tests.graphs.assistant.conversations import answer_of, ask, listen, on_thread, results_of

PARENT = """
import asyncio
from threadline.graphs.assistant.local_model import start_local_model

async def main():
    async with start_local_model() as served:
        print(served.pid, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.fixture
async def served() -> AsyncIterator[LocalModel]:
    """The packaged model, if it is installed."""
    try:
        packaged_model()
    except NoLocalModel as missing:
        pytest.skip(str(missing))
    async with start_local_model() as started:
        yield started


def lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z" if sys.platform == "linux" else True


@pytest.mark.slow
async def test_the_official_client_hears_the_local_model_token_by_token(served: LocalModel) -> None:
    client = ChatOpenAI(model=served.name, base_url=served.base_url, api_key=SecretStr(served.api_key), max_retries=0)
    heard: list[tuple[float, str]] = []
    async for chunk in client.astream(
        [("system", "You answer in English."), ("human", "What is the capital of France?")]
    ):
        if chunk.content:
            heard.append((time.monotonic(), str(chunk.content)))
    assert "Paris" in "".join(text for _, text in heard)
    assert len(heard) > 3
    moments = [moment for moment, _ in heard]
    assert len(set(moments)) == len(moments)
    assert moments[-1] - moments[0] > 0.02, "they came one by one, not at once"


@pytest.mark.slow
async def test_the_assistant_plans_by_rules_and_lets_the_local_model_answer(
    assistant: Graph, index: DocumentIndex, served: LocalModel
) -> None:
    model.configure(
        model.ModelSettings(served.api_key, served.name, served.base_url, answers_only=True),
        model.TokenSettings(context_tokens=served.context_tokens // 2),
    )
    values = await ask(assistant, "When do we deploy? What is 6*7?")
    assert results_of(values, "calculate")[0].content == "6*7 = 42"
    assert results_of(values, "search_documents")
    assert answer_of(values)
    assert values["messages"][-1].response_metadata["model_name"] == served.name
    heard = await listen(assistant, "When do we deploy?")
    tokens = [str(message.content) for message, metadata in heard if metadata["langgraph_node"] == "responder"]
    answer = (await assistant.aget_state(on_thread())).values["messages"][-1]
    assert "".join(tokens) == answer.content != ""


@pytest.mark.slow
async def test_nobody_without_the_key_is_answered(served: LocalModel) -> None:
    async with httpx.AsyncClient() as client:
        body = {"messages": [{"role": "user", "content": "hi"}]}
        assert (await client.post(f"{served.base_url}/chat/completions", json=body)).status_code == 401
    assert served.api_key not in repr(served)


@pytest.mark.slow
async def test_the_end_of_the_block_ends_the_process(served: LocalModel) -> None:
    async with start_local_model() as other:
        assert other.base_url != served.base_url
        assert lives(other.pid)
    assert not lives(other.pid)


@pytest.mark.slow
@pytest.mark.usefixtures("served")
def test_a_killed_parent_takes_the_local_model_with_it() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 10
    while lives(pid) and time.monotonic() < deadline:
        os.sched_yield()
    assert not lives(pid)


@pytest.mark.slow
@pytest.mark.usefixtures("served")
async def test_a_file_that_is_no_model_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "broken.gguf").write_bytes(b"GGUF" + os.urandom(1000))
    with pytest.raises(NoLocalModel, match=r"broken\.gguf did not start"):
        async with asyncio.timeout(30), start_local_model(tmp_path / "broken.gguf"):
            pytest.fail("it started")


async def test_without_its_packages_the_message_says_how_to_install_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(NoLocalModel, match="make local-model"):
        async with start_local_model():
            pytest.fail("it started")
