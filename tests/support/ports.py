"""A port for a server that a test starts itself."""

from peyvand.local_cluster.processes import free_ports


def free_port() -> int:
    """Return a port of the loopback that is free, and kept free for a minute."""
    return free_ports({"": None})[""]
