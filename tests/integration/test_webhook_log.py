import json
import time
from collections.abc import AsyncIterator

import pytest
from structlog.testing import capture_logs

from service.receive.signature import sign
from tests.webhook_fixtures import (
    SECRET,
    Service,
    compact,
    page,
    running,
    two_accounts,
)


@pytest.fixture
async def service(tmp_path) -> AsyncIterator[Service]:
    async with running(*two_accounts(tmp_path)) as service:
        yield service


async def test_one_line_tells_everything_of_a_delivery_but_no_user(service):
    with capture_logs() as lines:
        await service.post(page(["secret.person@x.com", None], ["gone@x.com"]))
    [line] = [line for line in lines if line["event"] == "delivery.answered"]
    assert line.pop("duration_ms") > 0
    assert line == {
        "event": "delivery.answered",
        "log_level": "info",
        "account": "acme",
        "action": "segment.users.sync",
        "segment_id": "15225086",
        "segment_name": "Heap Test Segment",
        "task": "task-1",
        "page": 1,
        "total_pages": 2,
        "added": 1,
        "removed": 1,
        "rejected": 1,
        "status": 200,
        "outcome": "accepted",
        "bytes": len(compact(page(["secret.person@x.com", None], ["gone@x.com"]))),
    }


async def test_the_log_tells_the_operator_why_a_delivery_was_refused(service):
    body = page(["a@x.com"])
    with capture_logs() as lines:
        await service.post(body, age_seconds=1000)
        await service.post(body, age_seconds=-1000)
        await service.post(compact(body), send=json.dumps(body, indent=1).encode())
        await service.post(body, secret="wrong")
        await service.post(body, path="/webhooks/heap/unknown")
    reasons = [line["reason"] for line in lines if line["event"] == "delivery.answered"]
    assert reasons[0].startswith("stale signature: 100")
    assert reasons[0].endswith("s old")
    assert reasons[1].startswith(("stale signature: 999", "stale signature: 1000"))
    assert reasons[1].endswith("s ahead of this machine's clock")
    assert reasons[2:] == [
        "body was reformatted on the way; look at your proxy",
        "wrong signature",
        "unknown account",
    ]


@pytest.mark.parametrize(("unit", "in_a_second"), [("seconds", 1), ("microseconds", 10**6), ("nanoseconds", 10**9)])
async def test_a_timestamp_in_another_unit_is_named_and_blames_no_clock(service, unit, in_a_second):
    with capture_logs() as lines:
        for number in range(4):
            body = compact(page(task=f"task-{number}"))
            header = sign(SECRET, str(int(time.time() * in_a_second) + number), body)
            assert (await service.post(body, headers={"Heap-Hash": header}))[0] == 403
    assert {line["event"] for line in lines} == {"delivery.answered"}
    reason = f"stale signature: the timestamp seems to be in {unit}; it must be in milliseconds"
    assert {line["reason"] for line in lines} == {reason}


async def test_each_answer_is_told_to_the_observer(service):
    await service.post(page(["a@x.com", ""]))
    await service.post(page(["a@x.com", ""]))
    await service.post(page(), secret="wrong")
    assert [(each.status, each.outcome, each.account) for each in service.answered] == [
        (200, "accepted", "acme"),
        (200, "duplicate", "acme"),
        (403, "forbidden", "acme"),
    ]
    first = service.answered[0]
    assert first.delivery is not None
    assert (len(first.delivery.add), first.delivery.rejected_count) == (1, 1)
    assert first.body_bytes > 0
    assert first.duration_seconds > 0
