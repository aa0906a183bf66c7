"""Owns the proof that the protocols of agents cost nothing until somebody speaks them."""

import subprocess
import sys

# What the SDKs bring along.
HEAVY = ("mcp", "mcp_types", "a2a", "google.protobuf", "jsonschema")
PROGRAM = f"import sys, threadline.cli, threadline.api.app; print([name for name in {HEAVY!r} if name in sys.modules])"


def test_the_sdks_of_agents_are_not_imported_with_the_server() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
