"""Owns the proof that the guide's way of copying threads from server to server keeps ids, labels and states."""

from pathlib import Path
from typing import Any

from threadline.tests.api.guarded_world import client_of, serve_project, write_project
from threadline.tests.commands.guides import read_guide

TELL = {"assistant_id": "telling", "input": {}}


def test_the_guide_copies_threads_from_one_server_to_another(
    server_dsn: str, template_database: str, tmp_path: Path
) -> None:
    (code,) = [block.text for block in read_guide("docs/migrating.md") if block.kind == "python"]
    namespace: dict[str, Any] = {}
    exec(code, namespace)
    config = write_project(tmp_path, rules=None)
    with (
        serve_project(server_dsn, template_database, config) as old_url,
        serve_project(server_dsn, template_database, config) as new_url,
        client_of(old_url) as old,
        client_of(new_url) as new,
    ):
        threads = [old.post("/threads", json={"metadata": {"n": n}}).json()["thread_id"] for n in range(3)]
        for thread in threads[:2]:
            old.post(f"/threads/{thread}/runs/wait", json=TELL).raise_for_status()
        assert namespace["copy_threads"](old_url, new_url, "telling", "tell") == 2
        assert namespace["copy_threads"](old_url, new_url, "telling", "tell") == 2
        for thread in threads[:2]:
            was, now = old.get(f"/threads/{thread}").json(), new.get(f"/threads/{thread}").json()
            assert (now["values"], now["metadata"], now["status"]) == (was["values"], was["metadata"], "idle")
        assert new.get(f"/threads/{threads[2]}").status_code == 404
