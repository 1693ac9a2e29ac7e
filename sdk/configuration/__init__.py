"""The config file and everything else that decides how a run behaves: found, read, checked and merged into one record.

Every key is declared once, in `declarations.py`. The way of a value:

    search (which file) -> yaml_reader, substitution (text to nodes) -> validation, components (nodes to typed values,
    every mistake collected) -> loading (which setting wins) -> Settings
"""

from milepost.sdk.configuration.declarations import Component, Settings
from milepost.sdk.configuration.loading import load
from milepost.sdk.configuration.report import CheckReport, as_file, check, effective
from milepost.sdk.configuration.schema import json_schema

__all__ = ["CheckReport", "Component", "Settings", "as_file", "check", "effective", "json_schema", "load"]
