"""`python -m milepost.sdk.shipper DIR`: leaves the program that started it, and becomes the shipper of a runs directory.

The program waits for the first process only, which ends at once: nobody's child, the shipper is not killed with a process tree,
waited for, or counted among the program's children. Descriptors that the program had left inheritable are closed.
"""

import contextlib
import os
import sys
from pathlib import Path

if __name__ == "__main__":
    try:
        inherited = [int(name) for name in os.listdir("/dev/fd")]
    except OSError:  # a sandbox without it
        inherited = list(range(1024))
    for descriptor in inherited:
        if descriptor > 2:
            with contextlib.suppress(OSError):  # that of the listing itself
                os.close(descriptor)
    if os.fork():
        os._exit(0)
    os.setsid()
    os.chdir("/")
    from milepost.sdk.shipper.process import main

    sys.exit(main(Path(sys.argv[1])))
