"""Owns the keeper's work in the database. Apart from the keeper, which need not import a driver before it is due."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import psycopg

from threadline.checkpoints.schema import Schema
from threadline.checkpoints.statements import load_statements
from threadline.runs.lease_keeper import Orders

_SQL = load_statements("threadline.runs", "lease.sql")


def registration(orders: Orders, due: float) -> dict[str, Any]:
    """Return what the statement `renew` is given; the next renewal is due in that many seconds."""
    who = {name: getattr(orders, name) for name in ("process_id", "name", "host", "pid", "birth")}
    return {**who, "lease": timedelta(seconds=orders.lease), "quiet": timedelta(seconds=due + orders.renew)}


class Renewal:
    """Renews over one connection, which it reopens as long as it is asked to; `tell` is told what went wrong."""

    def __init__(self, orders: Orders, tell: Callable[[str], None]) -> None:
        self._orders = orders
        self._tell = tell
        self._schema = Schema(orders.schema)
        self._connection: psycopg.Connection[Any] | None = None

    def renew(self) -> None:
        self._execute("renew", registration(self._orders, self._orders.renew))

    def expire(self) -> None:
        self._execute("expire", {"process_id": self._orders.process_id, "channel": self._schema.channel})

    def _execute(self, name: str, parameters: dict[str, Any]) -> None:
        try:
            if self._connection is None or self._connection.closed:
                self._connection = psycopg.connect(
                    self._orders.conninfo,
                    autocommit=True,
                    prepare_threshold=1 if self._orders.prepare else None,
                    connect_timeout=2,
                    application_name="threadline/lease",
                    tcp_user_timeout=2000,
                )
            self._connection.execute(self._schema.qualify(_SQL[name]), parameters)
        except psycopg.Error as error:
            # The next tick tries again; if the lease lapses meanwhile, that is what a lease is for.
            self._tell(str(error))
            if self._connection is not None:
                self._connection.close()
