"""`python -m milepost` is the `milepost` command."""

from milepost.sdk.cli import main

main()
