"""TCP ports of this machine."""

import socket


def is_taken(port: int) -> bool:
    """Whether somebody on this machine uses the port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", port))
        except OSError:
            return True
    return False
