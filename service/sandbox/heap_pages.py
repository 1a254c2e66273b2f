"""Pages as Heap sends them: compact JSON in raw UTF-8, signed, posted, and told apart by their answers."""

import time
from collections.abc import Iterator, Sequence

import aiohttp
import msgspec

from service.receive.signature import HEADER_NAME, sign

_encode = msgspec.json.Encoder().encode


class PageAnswer(msgspec.Struct, frozen=True):
    """What came back for one page; `status` 0 means that no answer came, and `text` says why."""

    status: int
    text: str
    retry_after_seconds: float | None = None


def build_pages(
    segment_id: int | str,
    segment_name: str,
    add: Sequence[str] = (),
    remove: Sequence[str] = (),
    *,
    task_id: str,
    page_size: int = 1000,
    id_token: str | None = None,
    identity_property: str = "email",
) -> list[bytes]:
    """Return the bodies of a sync: first all users to add, then all to remove, at most `page_size` in each.

    Without users it is one empty page, which is what Heap sends for a segment nobody entered or left. The page where
    adding ends and removing begins carries both.
    """
    return list(
        each_page(
            segment_id,
            segment_name,
            add,
            remove,
            task_id=task_id,
            page_size=page_size,
            id_token=id_token,
            identity_property=identity_property,
        )
    )


def each_page(
    segment_id: int | str,
    segment_name: str,
    add: Sequence[str] = (),
    remove: Sequence[str] = (),
    *,
    task_id: str,
    page_size: int = 1000,
    id_token: str | None = None,
    identity_property: str = "email",
) -> Iterator[bytes]:
    """Yield what `build_pages` returns, each page made when it is asked for: a sync need not fit into memory."""
    total_pages = max(1, -(-(len(add) + len(remove)) // page_size))
    for number in range(total_pages):
        yield _encode(
            ({} if id_token is None else {"id_token": id_token})
            | {
                "action_type": "segment.users.sync",
                "customer_config": _customer_config(identity_property),
                "data": {
                    "segment": {"id": segment_id, "name": segment_name},
                    "sync_info": {
                        "page_number": number + 1,
                        "total_pages": total_pages,
                        "sync_task_id": task_id,
                    },
                    **_users_of_page(add, remove, number * page_size, page_size),
                },
            }
        )


def _users_of_page(
    add: Sequence[str], remove: Sequence[str], start: int, page_size: int
) -> dict[str, list[dict[str, str]]]:
    stop = start + page_size
    return {
        "add": [{"id": user_id} for user_id in add[start:stop]],
        "remove": [{"id": user_id} for user_id in remove[max(0, start - len(add)) : max(0, stop - len(add))]],
    }


def _customer_config(identity_property: str) -> dict[str, object]:
    return {
        "fields": [
            {
                "field_id": "heap_identity_user_property",
                "field_display_name": "Heap identity user property",
                "field_type": "identity_mapping",
                "value": {"id": identity_property, "display_name": identity_property},
            }
        ]
    }


async def post_page(
    session: aiohttp.ClientSession, url: str, secret: str, body: bytes, timestamp_ms: int | None = None
) -> PageAnswer:
    """Sign `body` as of `timestamp_ms` (Unix time, by default now) and post it once; raises nothing for a bad answer."""
    timestamp_text = str(int(time.time() * 1000) if timestamp_ms is None else timestamp_ms)
    headers = {"Content-Type": "application/json", HEADER_NAME: sign(secret, timestamp_text, body)}
    try:
        async with session.post(url, data=body, headers=headers) as response:
            text = await response.text(errors="replace")
            return PageAnswer(response.status, text, _seconds(response.headers.get("Retry-After")))
    except (aiohttp.ClientError, TimeoutError) as error:
        return PageAnswer(0, f"{type(error).__name__}: {error}".rstrip(": "))


def _seconds(text: str | None) -> float | None:
    return float(text) if text is not None and text.isascii() and text.isdigit() else None
