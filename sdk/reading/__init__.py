"""Reading runs back: nothing in here changes a byte on disk, and no file it meets can stop it."""
