"""The hosted server: runs of a directory or of its own store, for many people, over HTTP and in a browser."""
