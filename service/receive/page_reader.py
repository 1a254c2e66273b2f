"""Understanding large pages one at a time, in a process of their own: neither memory nor the loop's time is theirs."""

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator

import msgspec
import structlog

from service.config.settings import AccountSettings
from service.errors import ErrorCode, ServiceError
from service.model.deliveries import Delivery
from service.receive.authentication import check_id_token
from service.receive.page_process import LENGTH, Question, Understood
from service.receive.signature import SignatureHeader

_log = structlog.get_logger()

_RETRY_AFTER_SECONDS = 5
_BYTES_AT_ONCE = 65_536
_ENDING_SECONDS = 5.0
# Enough for the interpreter to find itself and the libraries; the service's variables may hold secrets.
_KEPT_VARIABLES = ("PATH", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "VIRTUAL_ENV")


class Timings(msgspec.Struct, frozen=True):
    """How long, in seconds, the process may take for a page, and how long it waits for another one before it ends."""

    page_seconds: float = 60.0
    idle_seconds: float = 15.0


class PageReader:
    """Has large pages understood; the process for it starts with the first one, and ends when no more come."""

    def __init__(self, timings: Timings | None = None) -> None:
        self._timings = timings or Timings()
        self._turn = asyncio.Lock()
        self._process: asyncio.subprocess.Process | None = None
        self._idle: asyncio.TimerHandle | None = None

    @contextlib.asynccontextmanager
    async def understood(
        self, account: AccountSettings, header: SignatureHeader, body: bytes, received_at_ms: int
    ) -> AsyncIterator[Delivery]:
        """Give the delivery of an authentic page; the next large page is understood once the block ends.

        Raises what `decode_page`, `check_id_token` and `to_delivery` raise, and `ServiceError` (`NOT_READY`) when the
        process fails.
        """
        async with self._turn:
            understood = await self._ask(Question(account, header.timestamp_text, received_at_ms, len(body)), body)
            if understood.id_token is not None or understood.delivery is not None:
                id_token = understood.id_token
                check_id_token(account, None if id_token is None else id_token.decode("utf-8", "surrogatepass"))
            if understood.delivery is None:
                raise _error(understood)
            yield understood.delivery

    async def close(self) -> None:
        """End the process."""
        self._stop_waiting()
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def _ask(self, question: Question, body: bytes) -> Understood:
        self._stop_waiting()
        try:
            async with asyncio.timeout(self._timings.page_seconds):
                answer = await self._exchange(msgspec.msgpack.encode(question), body)
        except (OSError, EOFError, TimeoutError) as error:
            process = self._process
            if process is not None and not isinstance(error, TimeoutError):
                # It is ending by itself. To be killed meanwhile would cost asyncio its exit status.
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(process.wait(), _ENDING_SECONDS)
            await self.close()
            status = None if process is None else process.returncode
            _log.error("page_process.failed", fault=type(error).__name__, exit_status=status, bytes=len(body))
            raise ServiceError(
                ErrorCode.NOT_READY,
                "the page could not be read now; send it again soon",
                retry_after_seconds=_RETRY_AFTER_SECONDS,
            ) from error
        except BaseException:
            # In the middle of an answer, nothing else can be asked.
            await self.close()
            raise
        loop = asyncio.get_running_loop()
        self._idle = loop.call_later(self._timings.idle_seconds, self._let_end)
        return msgspec.msgpack.decode(answer, type=Understood)

    async def _exchange(self, question: bytes, body: bytes) -> bytearray:
        if self._process is None or self._process.returncode is not None:
            self._process = await _start()
        incoming, outgoing = self._process.stdin, self._process.stdout
        assert incoming is not None  # noqa: S101  it is started with pipes
        assert outgoing is not None  # noqa: S101  likewise
        incoming.writelines([LENGTH.pack(len(question)), question])
        # In parts, because what is not written yet is kept a second time.
        view = memoryview(body)
        for start in range(0, len(view), _BYTES_AT_ONCE):
            incoming.write(view[start : start + _BYTES_AT_ONCE])
            await incoming.drain()
        (length,) = LENGTH.unpack(await outgoing.readexactly(LENGTH.size))
        answer = bytearray(length)
        for start in range(0, length, _BYTES_AT_ONCE):
            size = min(_BYTES_AT_ONCE, length - start)
            answer[start : start + size] = await outgoing.readexactly(size)
        return answer

    def _let_end(self) -> None:
        self._idle = None
        process, self._process = self._process, None
        if process is not None and process.stdin is not None:
            process.stdin.close()

    def _stop_waiting(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None


async def _start() -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "service.receive.page_process",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ},
    )


def _error(understood: Understood) -> ServiceError:
    fault = understood.fault
    assert fault is not None  # noqa: S101  what is no delivery is a fault
    return ServiceError(fault.code, fault.message, path=fault.path, retry_after_seconds=fault.retry_after_seconds)
