"""A server under measurement: its process, the load it is given, and data it starts with."""
