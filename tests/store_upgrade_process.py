"""Opens a store of an older schema in a process of its own, with a migration at the end that takes long: to be killed."""

import asyncio
import sys
from pathlib import Path

from service.store.sqlite import queries
from tests.store_sqlite import SqliteStoreMaker

_SLOW_MIGRATION = """
CREATE TABLE slow (number INTEGER PRIMARY KEY, filling TEXT NOT NULL) STRICT;
WITH RECURSIVE counted (number) AS (SELECT 1 UNION ALL SELECT number + 1 FROM counted LIMIT 2000000)
INSERT INTO slow SELECT number, hex(randomblob(40)) FROM counted;
"""


async def upgrade(directory: Path) -> None:
    migrations = [*queries.migrations(), (queries.migrations()[-1][0] + 1, _SLOW_MIGRATION)]
    queries.migrations = lambda: migrations
    await SqliteStoreMaker(directory).open()


if __name__ == "__main__":
    asyncio.run(upgrade(Path(sys.argv[1])))
