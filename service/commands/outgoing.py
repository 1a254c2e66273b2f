"""The address under which this host goes out, as far as it can be known without asking anybody."""

import socket
from urllib.parse import urlsplit

_HTTPS_PORT = 443


def local_address_towards(url: str) -> str | None:
    """Return the address of this host's own interface that leads to `url`; None if none does or the name is not known.

    Nothing is sent: connecting a UDP socket only chooses a route. Behind NAT, others see another address.
    """
    parts = urlsplit(url)
    try:
        found = socket.getaddrinfo(parts.hostname, parts.port or _HTTPS_PORT, type=socket.SOCK_DGRAM)
        family, kind, protocol, _, address = found[0]
        with socket.socket(family, kind, protocol) as route:
            route.connect(address)
            own: str = route.getsockname()[0]
            return own
    except OSError:
        return None
