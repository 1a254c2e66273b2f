"""A file of many rows is streamed: what the process needs for it does not grow with the rows."""

from pathlib import Path

import aiohttp

from service.sandbox.heap_pages import build_pages, post_page
from tests.command_fixtures import API_KEY, WEBHOOK_SECRET, Installation, eventually

ROWS = {"Few": 2_000, "Many": 250_000}
# Half of what the rows of the larger list need together, and twice what SQLite keeps of them.
MAX_GROWTH_MEGABYTES = 32.0


def forget_peak(pid: int) -> None:
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def peak_megabytes(pid: int) -> float:
    [line] = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) / 1024


async def peak_of_export(installation: Installation, pid: int, list_id: int, form: str, rows: int) -> float:
    """Read the members of a list as a file, and return the most memory that the process had meanwhile."""
    forget_peak(pid)
    headers = {"Authorization": aiohttp.encode_basic_auth(API_KEY, "", encoding="utf-8")}
    lines = 0
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.get(f"{installation.url}/api/v1/lists/{list_id}/members?format={form}") as answer,
    ):
        async for chunk in answer.content.iter_any():
            lines += chunk.count(b"\n")
    assert lines == rows + (form == "csv")
    return peak_megabytes(pid)


async def test_the_memory_of_an_export_does_not_grow_with_its_rows(installation):
    installation.environment["HEAP_CORDIAL__ACCOUNTS__ACME__DRY_RUN"] = "true"
    async with installation.serving() as process, aiohttp.ClientSession() as session:
        for segment_id, (segment, rows) in enumerate(ROWS.items(), start=1):
            people = tuple(f"user{number}@{segment}.example.com" for number in range(rows))
            for page in build_pages(segment_id, segment, people, (), task_id=segment, page_size=20_000):
                assert (await post_page(session, installation.webhook, WEBHOOK_SECRET, page)).status == 200
        await eventually(lambda: installation.figures("pending"), list(ROWS.values()))
        for form in ("csv", "ndjson"):
            few, many = [
                await peak_of_export(installation, process.pid, list_id, form, rows)
                for list_id, rows in enumerate(ROWS.values(), start=1)
            ]
            assert many - few < MAX_GROWTH_MEGABYTES, (form, few, many)
