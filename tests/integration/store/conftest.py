import math
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tests.store_harness import Store, StoreMaker, check_invariants
from tests.store_sqlite import SqliteStoreMaker


@pytest.fixture(params=[SqliteStoreMaker], ids=["sqlite"])
def maker(request: pytest.FixtureRequest, tmp_path: Path) -> StoreMaker:
    make: Callable[[Path], StoreMaker] = request.param
    return make(tmp_path)


@pytest.fixture
async def store(maker: StoreMaker) -> AsyncIterator[Store]:
    maker.put_new()
    opened = await maker.open()
    try:
        yield opened
        check_invariants(maker.facts(), opened)
    finally:
        await opened.close()


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make pieces of two users and folds of three, so that a few users show what thousands would."""
    monkeypatch.setattr("service.model.deliveries.USERS_PER_PIECE", 2)
    monkeypatch.setattr("service.store.sqlite.folding.USERS_PER_PIECE", 2)
    monkeypatch.setattr("service.store.sqlite.store._MAX_USERS_PER_FOLD", 3)
    # However slow the machine is.
    monkeypatch.setattr("service.store.sqlite.fold_size._LONG_SECONDS", math.inf)
