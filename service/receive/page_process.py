"""The process that understands large pages: run by `page_reader.py`, which speaks with it through its standard streams.

It knows no secret and sees only pages that are authentic. It ends when its input does, so never outlives the service.
"""

import contextlib
import signal
import struct
import sys
from pathlib import Path
from typing import BinaryIO

import msgspec

from service.config.settings import AccountSettings
from service.errors import ErrorCode, ServiceError
from service.model.deliveries import Delivery
from service.receive.delivery import to_delivery
from service.receive.payload import decode_page

# Before each message: its length.
LENGTH = struct.Struct(">Q")


class Question(msgspec.Struct, frozen=True):
    """What is asked for a page whose raw body, of so many bytes, follows."""

    account: AccountSettings
    timestamp_text: str
    received_at_ms: int
    body_bytes: int


class Fault(msgspec.Struct, frozen=True):
    """A `ServiceError`."""

    code: ErrorCode
    message: str
    path: str | None
    retry_after_seconds: int | None


class Understood(msgspec.Struct, frozen=True):
    """What came of a page: a delivery or a fault. `id_token` is set once the page's shape is right, as UTF-8."""

    delivery: Delivery | None = None
    fault: Fault | None = None
    id_token: bytes | None = None


def understand(question: Question, body: bytes) -> Understood:
    """Make the delivery out of an authentic page."""
    id_token = None
    try:
        page = decode_page(body)
        # Broken text in it survives only so.
        id_token = None if page.id_token is None else page.id_token.encode("utf-8", "surrogatepass")
        delivery = to_delivery(
            page,
            question.account,
            body=body,
            timestamp_text=question.timestamp_text,
            received_at_ms=question.received_at_ms,
        )
    except ServiceError as error:
        fault = Fault(error.code, error.message, error.path, error.retry_after_seconds)
        return Understood(fault=fault, id_token=id_token)
    return Understood(delivery=delivery, id_token=id_token)


def _serve(incoming: BinaryIO, outgoing: BinaryIO) -> None:
    decode = msgspec.msgpack.Decoder(Question).decode
    while len(length := incoming.read(LENGTH.size)) == LENGTH.size:
        question = decode(incoming.read(LENGTH.unpack(length)[0]))
        answer = msgspec.msgpack.encode(understand(question, incoming.read(question.body_bytes)))
        outgoing.write(LENGTH.pack(len(answer)))
        outgoing.write(answer)
        outgoing.flush()


def _main() -> None:
    # A stop is the service's affair, which closes the input.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    # Where memory runs out, this process is to go and not the service.
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    _serve(sys.stdin.buffer, sys.stdout.buffer)


if __name__ == "__main__":
    _main()
