"""The steps of the pipeline, one verb per file: an event goes in; an event, or nothing, comes out."""
