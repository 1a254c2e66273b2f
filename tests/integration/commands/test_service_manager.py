"""What systemd is told through its socket: that the service has started, that it lives, that it stops."""

import socket

import pytest

from tests.command_fixtures import eventually


@pytest.mark.parametrize("is_abstract", [False, True])
async def test_systemd_hears_of_start_life_and_stop(installation, tmp_path, is_abstract):
    name = f"{tmp_path}/notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(f"\0{name}" if is_abstract else name)
        receiver.setblocking(False)
        installation.environment["NOTIFY_SOCKET"] = f"@{name}" if is_abstract else name
        told: list[str] = []

        async def hear() -> bool:
            try:
                told.append(receiver.recv(1_000).decode())
            except BlockingIOError:
                return False
            return "WATCHDOG=1" in told

        async with installation.serving():
            await eventually(hear, expected=True)
        while not await _is_empty(hear, told):
            pass
    assert told[0].startswith("EXTEND_TIMEOUT_USEC=")
    assert told.count("READY=1") == 1
    assert told.index("READY=1") < told.index("WATCHDOG=1") < told.index("STOPPING=1")


async def _is_empty(hear, told: list[str]) -> bool:
    before = len(told)
    await hear()
    return len(told) == before


async def test_a_socket_that_nobody_hears_stops_nothing(installation, tmp_path):
    installation.environment["NOTIFY_SOCKET"] = f"{tmp_path}/nobody"
    async with installation.serving():
        await eventually(lambda: installation.get("/livez"), (200, '{"status":"alive"}'))
