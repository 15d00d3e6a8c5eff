"""Becomes a command that does not outlive the process which started it: `python child.py PARENT COMMAND…`.

The kernel sends the command SIGTERM when its parent is gone, even by kill -9 (Linux: PR_SET_PDEATHSIG outlives exec).
A process of its own rather than `preexec_fn`, which is not safe once there are threads.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Does not return."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it was gone before it could be watched
        sys.exit(1)
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
