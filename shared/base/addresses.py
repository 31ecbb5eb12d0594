"""Addresses of clients."""

from ipaddress import IPv6Address


def network_of(address: str) -> str:
    """Return what counts as one address: of IPv6 the network /64, which belongs to one subscriber."""
    if ":" not in address or address.startswith("::ffff:"):
        return address
    try:
        return IPv6Address(address).exploded[:19]
    except ValueError:  # a proxy may forward anything
        return address
