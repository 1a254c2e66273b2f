"""Ports for whoever cannot ask for port 0, because he must know his port before he listens or listen there again."""

import socket
from collections import deque

# Far more than a test takes, far fewer than a process may have files.
_MAX_RESERVED = 100
_reserved: deque[socket.socket] = deque()


def free_port() -> int:
    """Return a port of 127.0.0.1 where nobody listens, and nobody will unless he asks for it.

    A port that was merely free a moment ago may be given to any connection or listener before it is bound again. Here a
    socket stays bound to it, so that the system gives it to nobody; a listener that may reuse an address, as those of
    asyncio do, can listen there. It lasts until a hundred more are reserved.
    """
    reservation = socket.socket()
    reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reservation.bind(("127.0.0.1", 0))
    _reserved.append(reservation)
    if len(_reserved) > _MAX_RESERVED:
        _reserved.popleft().close()
    port: int = reservation.getsockname()[1]
    return port
