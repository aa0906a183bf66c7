"""Owns the keys of the tests, and the search for what must not lie in a database in plain text."""

import hashlib
from base64 import b64encode
from typing import Any

import psycopg
from psycopg import sql

from threadline.checkpoints.aes_vault import AesVault, make_vault

# The same in every process of a test run.
OLD, NEW = [f"{year}:{b64encode(hashlib.sha256(year.encode()).digest()).decode()}" for year in ("2025", "2026")]


def vault_with(*keys: str, **options: Any) -> AesVault:
    """Return a vault of these keys, the first of which writes."""
    vault = make_vault(
        ",".join(keys) or None, options.pop("langgraph_key", None), reads_plaintext=options.pop("plain", False)
    )
    assert vault is not None
    return vault


def find_in_database(dsn: str, text: str) -> list[str]:
    """Return the tables in which a row holds the text, as text or in bytes."""
    found = []
    with psycopg.connect(dsn) as connection:
        tables = connection.execute(
            "select relname from pg_class where relkind = 'r' and relnamespace = current_schema()::regnamespace"
        )
        for (table,) in tables.fetchall():
            # Bytes show as hexadecimal digits in a row's text.
            query = sql.SQL("select count(*) from {} t where t::text ilike %s or t::text ilike %s")
            like = [f"%{text}%", f"%{text.encode().hex()}%"]
            row = connection.execute(query.format(sql.Identifier(table)), like).fetchone()
            if row and row[0]:
                found.append(table)
    return sorted(found)
