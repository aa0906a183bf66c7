"""Owns a PgBouncer in front of the tests' server, in transaction mode: each transaction gets any session."""

import os
import pwd
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp
from time import monotonic, sleep

from psycopg.conninfo import conninfo_to_dict, make_conninfo

START_SECONDS = 20.0
# Few, so that clients share sessions; more than the transactions that a test holds open at once.
SESSIONS = 12

_CONFIGURATION = """
[databases]
* = {server}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {sessions}
max_client_conn = 2000
server_idle_timeout = 5
ignore_startup_parameters = options
"""


@contextmanager
def run_pooler(server_dsn: str) -> Iterator[str]:
    """Have one for the length of the block; yields the conninfo of its host and port."""
    program = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        raise RuntimeError("PgBouncer is not installed; on Debian it is the package pgbouncer")
    folder = Path(mkdtemp(prefix="threadline-pooler-"))
    port = _free_port()
    configuration = folder / "pgbouncer.ini"
    server = {key: value for key, value in conninfo_to_dict(server_dsn).items() if key != "dbname"}
    text = _CONFIGURATION.format(server=make_conninfo("", **server), port=port, sessions=SESSIONS)
    configuration.write_text(text)
    command = [program, "--quiet", str(configuration)]
    if os.geteuid() == 0:
        # It refuses to be root, and has to enter the folder of the server's socket.
        host = str(server.get("host", ""))
        account = pwd.getpwuid(os.stat(host).st_uid) if host.startswith("/") else pwd.getpwnam("nobody")
        for path in (folder, configuration):
            os.chown(path, account.pw_uid, account.pw_gid)
        command[1:1] = [f"--user={account.pw_name}"]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    try:
        _await_port(port, process)
        yield make_conninfo(host="127.0.0.1", port=port)
    finally:
        process.terminate()
        process.wait(10)
        shutil.rmtree(folder)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _await_port(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = monotonic() + START_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            if process.poll() is not None or monotonic() > deadline:
                raise RuntimeError(f"PgBouncer does not listen; its exit code is {process.returncode}") from None
            sleep(0.05)
