"""Who is at the other end of a connection, as far as an address tells. Pure, no I/O."""

import ipaddress

# What a provider gives to one customer at least: whoever has it has 2^64 addresses to come from.
_IPV6_CUSTOMER_BITS = 64


def origin_of(address: str) -> str:
    """Return what counts as one origin: an IPv4 address by itself, an IPv6 address by its network of 64 bits.

    Whatever is no IP address, such as the empty text of a connection without one, is an origin of its own.
    """
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(ip, ipaddress.IPv4Address):
        return str(ip)
    if ip.ipv4_mapped is not None:
        return str(ip.ipv4_mapped)
    return str(ipaddress.ip_network((ip, _IPV6_CUSTOMER_BITS), strict=False))
