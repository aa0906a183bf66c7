"""Owns which addresses on the network may be fetched from: those of the public internet. Fetching is left to
`fetching`.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

Address = IPv4Address | IPv6Address
Resolve = Callable[[str, int], Awaitable[Sequence[Address]]]

# Translates to the IPv4 address in its last 32 bits.
_NAT64 = IPv6Network("64:ff9b::/96")


class RefusedAddress(ValueError):
    """A name leads to an address that must not be fetched from; the message says which and why."""


async def resolve(host: str, port: int) -> Sequence[Address]:
    """The addresses of a name, as the system knows them. Raises OSError, or UnicodeError for what is no name."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [ip_address(str(address[0]).partition("%")[0]) for *_, address in found]


def check_addresses(host: str, addresses: Sequence[Address], *, allow_loopback: bool) -> Sequence[Address]:
    """Return the addresses. Raises RefusedAddress if one of them is not public, or there is none.

    One bad address is enough: a name that leads to both was made to get past this.
    """
    for address in addresses:
        reached = _reached(address)
        if not (_is_public(reached) or (allow_loopback and reached.is_loopback)):
            raise RefusedAddress(f"{host} leads to {address}, which is not on the public internet")
    if not addresses:
        raise RefusedAddress(f"{host} has no address")
    return addresses


def _is_public(address: Address) -> bool:
    return address.is_global and not address.is_multicast and not address.is_reserved


def _reached(address: Address) -> Address:
    """The address where packets end up: some IPv6 addresses only wrap one of IPv4."""
    if isinstance(address, IPv4Address):
        return address
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    teredo = address.teredo
    return address.ipv4_mapped or address.sixtofour or (teredo[1] if teredo else address)
