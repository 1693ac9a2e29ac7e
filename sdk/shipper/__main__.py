"""`python -m milepost.sdk.shipper DIR`: leaves the program that started it, and becomes the shipper of a runs directory.

The program waits for the first process only, which ends at once: nobody's child, the shipper is not killed with a process tree,
waited for, or counted among the program's children. Descriptors that the program had left inheritable are closed.
"""

import os
import sys
from pathlib import Path

if __name__ == "__main__":
    try:
        last = max(map(int, os.listdir("/dev/fd")))
    except OSError:  # a sandbox without it
        last = 2**16
    os.closerange(3, last + 1)
    if os.fork():
        os._exit(0)
    os.setsid()
    os.chdir("/")
    from milepost.sdk.shipper.process import main

    sys.exit(main(Path(sys.argv[1])))
