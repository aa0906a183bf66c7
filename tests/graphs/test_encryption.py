"""Owns the proof that `encryption` in a langgraph.json is handlers that can be used, or is refused by its name."""

import json
from pathlib import Path
from typing import Any

import pytest

from threadline.graphs.configuration import Configuration, load_configuration
from threadline.graphs.encryption import load_encryption
from threadline.graphs.errors import ConfigurationError

HANDLERS = "threadline.tests.checkpoints.project_encryption"
WRONG = """
from langgraph_sdk import Encryption

encryption = Encryption()


@encryption.encrypt.blob
def encrypt(ctx, data): return data
"""


def load(folder: Path, **sections: Any) -> Configuration:
    path = folder / "langgraph.json"
    path.write_text(json.dumps({"graphs": {"agent": "./agent.py:graph"}, **sections}))
    return load_configuration(path)


@pytest.mark.filterwarnings("ignore:The Encryption API is in beta")
@pytest.mark.parametrize(
    ("section", "problem"),
    [
        ([], "must be an object"),
        ({}, "./encryption.py:encryption"),
        ({"path": 3}, "must be a text"),
        ({"path": "./absent.py:encryption"}, "does not exist"),
        ({"path": f"{HANDLERS}:absent"}, "it has no variable 'absent'"),
        ({"path": f"{HANDLERS}:TENANTS"}, "is a tuple, not a langgraph_sdk.Encryption"),
        ({"path": f"{HANDLERS}:half"}, "has no `@decrypt.blob` handler"),
        ({"path": f"{HANDLERS}:asking"}, "an `@context` handler, which asks who the user is: that takes `auth`"),
        ({"path": "./wrong_encryption.py:encryption"}, "Blob encryptor must be an async function"),
    ],
)
def test_handlers_that_cannot_be_used_stop_the_start(tmp_path: Path, section: Any, problem: str) -> None:
    (tmp_path / "wrong_encryption.py").write_text(WRONG)
    with pytest.raises(ConfigurationError) as refusal:
        load_encryption(load(tmp_path, encryption=section))
    assert refusal.value.key.startswith("encryption")
    assert problem in str(refusal.value)


def test_a_file_that_names_none_has_none(tmp_path: Path) -> None:
    assert load_encryption(load(tmp_path)) is None
    named = load(tmp_path, encryption={"path": f"{HANDLERS}:encryption"}, auth={"path": "./auth.py:auth"})
    assert load_encryption(named) is not None


def test_one_handler_for_json_is_of_no_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from threadline.tests.checkpoints import project_encryption

    monkeypatch.setattr(project_encryption.strange, "_json_decryptor", None)
    with pytest.raises(ConfigurationError, match=r"has no `@decrypt.json` handler"):
        load_encryption(load(tmp_path, encryption={"path": f"{HANDLERS}:strange"}))
