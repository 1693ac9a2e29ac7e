"""Where events go, one destination per file. Exporters know the SDK; the SDK knows them by name only."""
