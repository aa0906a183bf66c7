"""`threadline serve --local-model` as a person sees it: answers of a model, with no key, and nothing left behind."""

import signal
from pathlib import Path

import pytest

from threadline.commands.demo.processes import living
from threadline.graphs.assistant.local_model import NoLocalModel, packaged_model
from threadline.tests.commands.conftest import Launch
from threadline.tests.commands.requests import wait_run
from threadline.tests.source import ROOT


@pytest.mark.slow
def test_serve_lets_the_local_model_answer_and_ends_it(start: Launch, data_dir: Path) -> None:
    try:
        packaged_model()
    except NoLocalModel as missing:
        pytest.skip(str(missing))
    program = start("serve", "--port", "0", "--data-dir", str(data_dir), "--local-model", cwd=ROOT)
    url = program.await_url()
    values = wait_run(url, "assistant", {"messages": [{"role": "user", "content": "What is 6*7?"}]})
    assert values["messages"][-1]["response_metadata"]["model_name"] == "local"
    assert [call["tool"] for call in values["plan"]] == ["calculate"]
    assert program.family
    program.send(signal.SIGTERM)
    assert program.await_end() == 0
    assert not living(program.started)
