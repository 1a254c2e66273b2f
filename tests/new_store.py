"""A store that nobody has used yet, as the service makes it: made once a process, and copied for each test that needs one.

Making the schema takes about 14 ms of processor time, and more than a thousand tests and lives begin with it. That the
service makes it where there is none is tested in `test_store_opening.py`, and by all that run commands.
"""

import contextlib
import functools
import sqlite3
import tempfile
from pathlib import Path

from service.store.sqlite import opening


def put_new_store(database: Path) -> None:
    """Put a store's file here, unless there is one, in a folder that is there or can be made."""
    database.parent.mkdir(exist_ok=True)
    with contextlib.suppress(FileExistsError):
        database.touch(0o600, exist_ok=False)
        database.write_bytes(_content())


@functools.cache
def _content() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "store.db"
        connection = sqlite3.connect(made, isolation_level=None)
        opening._prepare_writer(connection, made)
        connection.close()
        return made.read_bytes()
