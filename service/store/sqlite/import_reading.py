"""Imports as people are shown them, and whether a contact travels in one."""

import json
import sqlite3
from collections.abc import Mapping
from typing import Any

from service.model.imports import ImportPartView, ImportView, Journey
from service.store.sqlite import queries
from service.store.sqlite.rows import as_views, named_rows

_SQL = queries.load("read_imports")


def read_imports(connection: sqlite3.Connection, values: Mapping[str, Any]) -> list[ImportView]:
    """Return the imports that `values` asks for, the newest first, each with the parts that are still to come of it."""
    rows = named_rows(connection.execute(_SQL["imports"], values))
    return as_views(
        [{**row, "lists": json.loads(row["lists"]), "parts": _parts(connection, row["id"])} for row in rows], ImportView
    )


def read_journey(connection: sqlite3.Connection, values: Mapping[str, Any]) -> Journey | None:
    """Return the import in which a contact of a list's account travels, if any."""
    found = as_views(named_rows(connection.execute(_SQL["journey"], values)), Journey)
    return found[0] if found else None


def _parts(connection: sqlite3.Connection, import_id: int) -> list[ImportPartView]:
    return as_views(named_rows(connection.execute(_SQL["parts"], {"import_id": import_id})), ImportPartView)
