"""Owns the PostgreSQL server that Threadline brings along; what is stored in it is left to the rest of `checkpoints`.

Import it only when no database URL is given: production never loads this package.
"""

from threadline.checkpoints.embedded.binaries import Binaries, Source, Version
from threadline.checkpoints.embedded.errors import (
    BinariesNotFound,
    DataDirectoryInUse,
    EmbeddedServerError,
    ServerStartFailed,
)
from threadline.checkpoints.embedded.postmaster import ExitReason, ServerExit
from threadline.checkpoints.embedded.server import EmbeddedServer, attach, run_server, start_server

__all__ = [
    "Binaries",
    "BinariesNotFound",
    "DataDirectoryInUse",
    "EmbeddedServer",
    "EmbeddedServerError",
    "ExitReason",
    "ServerExit",
    "ServerStartFailed",
    "Source",
    "Version",
    "attach",
    "run_server",
    "start_server",
]
