"""From `log()` to the exporters: run, event, pipeline, ring, journal, delivery, read-back."""
