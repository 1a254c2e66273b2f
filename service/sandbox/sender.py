"""The command `send`: signs and posts pages of a segment as Heap does."""

import argparse
import asyncio
import csv
import time
import uuid
import zlib
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from service.commands.arguments import add_command, add_json_option, at_least_one
from service.commands.terminal import USAGE, complain, fail, tell
from service.config.settings import SecretReference
from service.errors import in_words
from service.sandbox.heap_pages import PageAnswer, build_pages, post_page

__all__ = ["PageAnswer", "build_pages", "post_page", "register"]

_OK = 200
_FIRST_WAIT_SECONDS = 0.5
_MAX_WAIT_SECONDS = 30.0
_TIMEOUT_SECONDS = 60.0
_PROGRESS_EVERY_SECONDS = 2.0


def register(subparsers: "argparse._SubParsersAction[Any]") -> None:
    """Add the command to the program's parser."""
    parser = add_command(
        subparsers,
        "send",
        "sign and post a segment as Heap does",
        (
            "send --url http://127.0.0.1:8080/webhooks/heap/acme --secret-file heap-secret --segment Test --file users.csv",
        ),
        description="Signs and posts the pages of a segment sync as Heap does. Ends with status 0 only if all were "
        "answered 200.",
    )
    parser.add_argument("--url", required=True, help="the webhook, e.g. http://127.0.0.1:8080/webhooks/heap/acme")
    parser.add_argument("--secret-file", required=True, metavar="FILE", help="file with the webhook secret")
    parser.add_argument("--segment", required=True, metavar="NAME", help="name of the segment")
    parser.add_argument("--segment-id", metavar="ID", help="id of the segment; by default made from its name")
    parser.add_argument("--add", nargs="+", action="extend", default=[], metavar="ID", help="users who entered")
    parser.add_argument("--remove", nargs="+", action="extend", default=[], metavar="ID", help="users who left")
    parser.add_argument("--file", metavar="CSV", help="users who entered: the first column, a header `id` aside")
    parser.add_argument("--remove-file", metavar="CSV", help="users who left, likewise")
    parser.add_argument(
        "--page-size", type=at_least_one, default=1000, metavar="N", help="users in a page (default 1000)"
    )
    parser.add_argument("--task", metavar="ID", help="id of the sync; by default a new one")
    parser.add_argument("--id-token", metavar="TOKEN", help="the customer's id_token, if the pages are to carry one")
    parser.add_argument(
        "--identity-property",
        default="email",
        metavar="NAME",
        help="the Heap user property that the ids are values of (default email)",
    )
    parser.add_argument(
        "--attempts", type=at_least_one, default=5, metavar="N", help="how often to post a page at most (default 5)"
    )
    add_json_option(parser, "each page and its answer as JSON, one document a line")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    try:
        secret = SecretReference(file=arguments.secret_file).read()
        add = arguments.add + _read_ids(arguments.file)
        remove = arguments.remove + _read_ids(arguments.remove_file)
    except (OSError, LookupError, ValueError, csv.Error) as error:
        fail(arguments, USAGE, f"heap-cordial send: {in_words(error)}")
        return 2
    task_id = arguments.task or str(uuid.uuid4())
    pages = build_pages(
        _segment_id(arguments),
        arguments.segment,
        add,
        remove,
        task_id=task_id,
        page_size=arguments.page_size,
        id_token=arguments.id_token,
        identity_property=arguments.identity_property,
    )
    try:
        delivered = asyncio.run(_send(arguments, secret, pages, task_id))
    except KeyboardInterrupt:
        complain("stopped; pages answered 200 are delivered, the others are not")
        return 130
    if delivered < len(pages):
        complain(f"{len(pages) - delivered} of {len(pages)} pages were not taken")
        return 1
    return 0


def _read_ids(path: str | None) -> list[str]:
    if path is None:
        return []
    with Path(path).open(encoding="utf-8-sig", newline="") as file:
        ids = [row[0] for row in csv.reader(file) if row]
    return ids[1:] if ids[:1] == ["id"] else ids


def _segment_id(arguments: argparse.Namespace) -> int | str:
    """Return the given id, as the number it is in Heap; without one, the same number for the same name each time."""
    text: str | None = arguments.segment_id
    if text is None:
        return zlib.crc32(arguments.segment.encode())
    return int(text) if text.isascii() and text.isdigit() else text


async def _send(arguments: argparse.Namespace, secret: str, pages: list[bytes], task_id: str) -> int:
    """Post the pages one after another and return how many were answered 200."""
    delivered = 0
    progress = _Progress(len(pages))
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_TIMEOUT_SECONDS)) as session:
        for number, body in enumerate(pages, start=1):
            answer = await _post_until_taken(session, arguments.url, secret, body, arguments.attempts)
            document = {
                "sync_task_id": task_id,
                "page_number": number,
                "total_pages": len(pages),
                **_as_document(answer),
            }
            tell(arguments, document, f"page {number} of {len(pages)}: {_describe(answer)}")
            delivered += answer.status == _OK
            progress.show(number, delivered)
    return delivered


async def _post_until_taken(
    session: aiohttp.ClientSession, url: str, secret: str, body: bytes, attempts: int
) -> PageAnswer:
    """Post a page until it is answered 200, as Heap does with any other answer, though not for as long."""
    answer = await post_page(session, url, secret, body)
    wait_seconds = _FIRST_WAIT_SECONDS
    for _ in range(attempts - 1):
        if answer.status == _OK:
            break
        pause_seconds = min(max(wait_seconds, answer.retry_after_seconds or 0), _MAX_WAIT_SECONDS)
        complain(f"{_describe(answer)}; again in {pause_seconds:g} s")
        await asyncio.sleep(pause_seconds)
        answer = await post_page(session, url, secret, body)
        wait_seconds *= 2
    return answer


def _as_document(answer: PageAnswer) -> dict[str, Any]:
    """Return an answer as JSON: its status (0: none came), and what came, as text where it is no JSON."""
    try:
        body = msgspec.json.decode(answer.text)
    except (msgspec.DecodeError, UnicodeEncodeError):
        body = answer.text
    return {"status": answer.status, "answer": body}


def _describe(answer: PageAnswer) -> str:
    return f"{answer.status or 'no answer'} {answer.text}".rstrip()


class _Progress:
    """A line now and then on standard error, for runs long enough to make one wonder."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._started = self._shown = time.monotonic()

    def show(self, sent: int, delivered: int) -> None:
        now = time.monotonic()
        if now - self._shown < _PROGRESS_EVERY_SECONDS or sent == self._total:
            return
        self._shown = now
        left_seconds = (now - self._started) / sent * (self._total - sent)
        complain(f"{sent} of {self._total} pages sent, {delivered} taken, about {left_seconds:.0f} s to go")
