"""`python -m milepost.sdk.shipper DIR`: leaves the program that started it, and becomes the shipper of a runs directory.

The program waits for the first process only, which ends at once: nobody's child, the shipper is not killed with a process tree,
waited for, or counted among the program's children.
"""

import os
import sys
from pathlib import Path

if __name__ == "__main__":
    if os.fork():
        os._exit(0)
    os.chdir("/")
    from milepost.sdk.shipper.process import main

    sys.exit(main(Path(sys.argv[1])))
