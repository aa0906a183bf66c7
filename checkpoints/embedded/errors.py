"""Owns the ways in which the embedded server can fail to be there; who tells the user is left to the caller."""


class EmbeddedServerError(Exception):
    """The embedded PostgreSQL cannot be used; the message says where and what to do instead."""


class BinariesNotFound(EmbeddedServerError):
    """No usable PostgreSQL server binaries in any of the places that were tried."""


class DataDirectoryInUse(EmbeddedServerError):
    """Another process owns the server of this data directory."""


class ServerStartFailed(EmbeddedServerError):
    """The server process did not become ready; the message ends with the tail of its log."""
