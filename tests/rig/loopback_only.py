"""Run a command where loopback is all the network there is: whatever reaches out fails.

unshare --net python -m tests.rig.loopback_only COMMAND …
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import sys
from collections.abc import Sequence

SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1


def bring_up() -> None:
    """Do what `ip link set lo up` does: in a new namespace loopback is down."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as door:
        request = struct.pack("16sh14x", b"lo", 0)
        flags = struct.unpack("16sh14x", fcntl.ioctl(door, SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(door, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | IFF_UP))


def reaches_others() -> bool:
    """Test whether a packet could leave; documentation addresses belong to nobody (RFC 5737)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as door:
        try:
            door.connect(("192.0.2.1", 9))
        except OSError:
            return False
    return True


def main(command: Sequence[str]) -> None:
    """Become the command, unless something else can be reached."""
    bring_up()
    if reaches_others():
        raise SystemExit("This is no network namespace of its own: start it with `unshare --net`.")
    os.execvp(command[0], list(command))  # noqa: S606  # the command is the caller's


if __name__ == "__main__":
    main(sys.argv[1:])
