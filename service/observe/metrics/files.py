"""The size of the store's files, asked of the file system."""

import shutil
from pathlib import Path

from service.observe.metrics.moment import StoreFiles


def store_files(database: Path) -> StoreFiles | None:
    """Return how large the database at that path and its write-ahead log are, None where the file system does not say."""
    wal = database.with_name(database.name + "-wal")
    try:
        return StoreFiles(
            database_bytes=database.stat().st_size,
            wal_bytes=wal.stat().st_size if wal.exists() else 0,
            disk_free_bytes=shutil.disk_usage(database.parent).free,
        )
    except OSError:
        return None
