import asyncio

from service.sandbox.limits import RateLimiter
from service.sandbox.options import SandboxOptions
from tests.sandbox_fixtures import Reply, calling

# A window so long that no machine is slow enough to leave it during a test.
HOUR = SandboxOptions(rate=3 / 3600, rate_window_seconds=3600)


def limit_headers(reply: Reply) -> list[str | None]:
    names = ("Retry-After", "X-Rate-Limit-Limit", "X-Rate-Limit-Remaining", "X-Rate-Limit-Reset")
    return [reply.headers.get(name) for name in names]


async def test_calls_beyond_the_limit_are_refused_with_all_four_headers():
    async with calling(HOUR) as cordial:
        passed = [await cordial.call("GET", "/v2/accountlists") for _ in range(3)]
        refused = await cordial.call("GET", "/v2/accountlists")
    assert [reply.status for reply in passed] == [200, 200, 200]
    assert [reply.headers["X-Rate-Limit-Remaining"] for reply in passed] == ["2", "1", "0"]
    assert {reply.headers["X-Rate-Limit-Limit"] for reply in passed} == {"3"}
    assert all("Retry-After" not in reply.headers for reply in passed)
    assert (refused.status, refused.json["error"]) == (429, True)
    retry_after, limit, remaining, reset = limit_headers(refused)
    assert (limit, remaining) == ("3", "0")
    assert retry_after == reset
    assert 3500 < int(refused.headers["X-Rate-Limit-Reset"]) <= 3600


async def test_each_method_and_endpoint_has_its_own_limit():
    async with calling(HOUR) as cordial:
        for _ in range(3):
            assert (await cordial.call("POST", "/v2/accountlists", {"name": "x"})).status != 429
        assert (await cordial.call("POST", "/v2/accountlists", {"name": "x"})).status == 429
        assert (await cordial.call("GET", "/v2/accountlists")).status == 200
        # One endpoint for all contacts, whoever is in the path.
        for number in range(3):
            assert (await cordial.call("PUT", f"/v2/contacts/email:{number}", {})).status == 404
        assert (await cordial.call("PUT", "/v2/contacts/email:3", {})).status == 429


async def test_a_refused_write_changes_nothing():
    async with calling(HOUR) as cordial:
        await cordial.create_list("Readers")
        for number in range(4):
            await cordial.add(f"user{number}@example.com", Readers=True)
        assert await cordial.members("Readers") == [f"user{number}@example.com" for number in range(3)]


async def test_headers_on_success_can_be_left_out():
    options = SandboxOptions(rate=3 / 3600, rate_window_seconds=3600, rate_headers_on_success=False)
    async with calling(options) as cordial:
        replies = [await cordial.call("GET", "/v2/accountlists") for _ in range(4)]
    assert [limit_headers(reply) for reply in replies[:3]] == [[None] * 4] * 3
    assert None not in limit_headers(replies[3])


async def test_without_a_limit_there_are_no_headers():
    async with calling() as cordial:
        replies = await asyncio.gather(*(cordial.call("GET", "/v2/accountlists") for _ in range(20)))
    assert [limit_headers(reply) for reply in replies] == [[None] * 4] * 20
    assert {reply.status for reply in replies} == {200}


def test_no_window_ever_holds_more_than_the_limit():
    now = 0.0
    limiter = RateLimiter(5, 1.0, lambda: now)
    passed = []
    for step in range(400):
        now = step * 0.03
        if limiter.take("GET", "/").allowed:
            passed.append(now)
    assert all(later - earlier >= 1.0 for earlier, later in zip(passed, passed[5:], strict=False))
    assert len(passed) >= 5 * 11


def test_waiting_for_retry_after_is_enough():
    now = 100.0
    limiter = RateLimiter(2, 1.0, lambda: now)
    limiter.take("GET", "/")
    now = 100.7
    limiter.take("GET", "/")
    refused = limiter.take("GET", "/")
    assert not refused.allowed
    assert refused.headers()["Retry-After"] == "1"
    now += refused.reset_seconds
    assert limiter.take("GET", "/").allowed
