"""Comparing what should be on a list with what Cordial counts there (R11)."""

import asyncio
from collections.abc import Callable

import msgspec
import structlog

from service import supervision
from service.backoff import backoff_seconds
from service.deliver.lists.keeper import ListKeeper
from service.deliver.lists.questions import Missing, NoAnswer
from service.errors import ErrorCode, ServiceError, StoreUnavailableError
from service.model.lists import ListState, Segment, VerifyResult
from service.store.port import Lists
from service.supervision import Supervisor

log = structlog.get_logger()


class Timings(msgspec.Struct, frozen=True):
    """How long to wait for what, in seconds.

    `tick`: between two looks for lists that have drained. `recount_after`: Cordial may count a little behind its writes, so
    a difference is believed once it has lasted. `repeat_first`, `repeat_last`: a count that failed is repeated after twice
    the wait of the one before, from the first to the last. `answer`: whoever asks for a count waits no longer.
    """

    tick: float = 1.0
    recount_after: tuple[float, ...] = (2.0, 10.0, 60.0)
    repeat_first: float = 5.0
    repeat_last: float = 600.0
    answer: float = 30.0


class ListVerifier:
    """Counts each list of an account after its changes have drained, and whenever asked."""

    def __init__(
        self,
        name: str,
        store: Lists,
        lists: ListKeeper,
        is_drained: Callable[[int], bool],
        *,
        timings: Timings,
    ) -> None:
        self._name = name
        self._store = store
        self._lists = lists
        self._is_drained = is_drained
        self._timings = timings
        self._due: dict[int, tuple[float, int]] = {}
        self._failures: dict[int, int] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self, supervisor: Supervisor) -> None:
        """Begin to count what has drained."""
        self._task = supervisor.start(f"{self._name} verifier", self._run())

    async def stop(self) -> None:
        """Stop counting."""
        await supervision.stop(self._task)

    def take_over(self, other: "ListVerifier") -> None:
        """Take over what a verifier that has stopped had still to count."""
        self._due = {**other._due, **self._due}  # noqa: SLF001  one of its own kind

    def touched(self, segment_id: int) -> None:
        """Note that the list has changed: it is counted once all changes are sent."""
        self._due[segment_id] = (0.0, 0)

    async def verify(self, segment_id: int) -> VerifyResult:
        """Count a list now and record the count.

        Raises `ServiceError`: NOT_FOUND without such a segment, CONFLICT while it has no list or Cordial gives no count.
        """
        segment = await self._segment(segment_id)
        if segment is None:
            raise ServiceError(ErrorCode.NOT_FOUND, f"there is no list {segment_id}")
        if segment.list_state is not ListState.READY:
            why = segment.list_reason or "it is not created in Cordial yet"
            raise ServiceError(ErrorCode.CONFLICT, f"the list cannot be counted now: {why}")
        counted = await self._lists.cordial.count(segment.list_id)
        if isinstance(counted, Missing):
            self._lists.counted(segment_id, "")
        if isinstance(counted, Missing | NoAnswer):
            raise ServiceError(ErrorCode.CONFLICT, f"Cordial gave no count of the list: {counted.words}")
        self._lists.counted(segment_id, counted.name)
        await self._store.set_list_count(segment_id, counted.number, segment.confirmed)
        owed = segment.pending + segment.waiting
        return VerifyResult(segment_id, segment.list_name, counted.number, segment.confirmed, owed)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self._timings.tick)
            for segment_id, (due, tries) in list(self._due.items()):
                if due <= loop.time() and self._is_drained(segment_id):
                    del self._due[segment_id]
                    await self._count(segment_id, tries)

    async def _count(self, segment_id: int, tries: int) -> None:
        try:
            result = await self.verify(segment_id)
        except (ServiceError, StoreUnavailableError) as error:
            failures = self._failures.get(segment_id, 0)
            self._failures[segment_id] = failures + 1
            wait = backoff_seconds(failures, self._timings.repeat_first, self._timings.repeat_last)
            self._due.setdefault(segment_id, (asyncio.get_running_loop().time() + wait, tries))
            log.warning(
                "list.not_counted", account=self._name, segment=segment_id, reason=error.message, again_in_seconds=wait
            )
            return
        except Exception:
            log.exception("list.not_counted", account=self._name, segment=segment_id)
            return
        self._failures.pop(segment_id, None)
        if segment_id in self._due or not self._is_drained(segment_id) or result.differs is None:
            return
        figures = {"list": result.list_name, "counted": result.counted, "expected": result.expected}
        if not result.differs:
            log.info("list.exact", account=self._name, **figures)
        elif tries < len(self._timings.recount_after):
            self._due[segment_id] = (asyncio.get_running_loop().time() + self._timings.recount_after[tries], tries + 1)
        else:
            hint = "rebuild the list to send its members again"
            log.error("list.differs", account=self._name, hint=hint, **figures)

    async def _segment(self, segment_id: int) -> Segment | None:
        found = [segment for segment in await self._store.segments() if segment.id == segment_id]
        return found[0] if found and found[0].account == self._name else None
