"""Chart: a table with a few words on how to draw it. What is stored is the table; the web page draws it, and pandas reads it."""

from collections.abc import Mapping
from typing import Any, ClassVar, Final

from milepost.media.frames import is_frame
from milepost.media.table import Table
from milepost.media.table_input import listed
from milepost.sdk.errors import DataError

KINDS: Final = {
    "area-under-curve": "curve",
    "bar": "bar",
    "confusion_matrix": "confusion_matrix",
    "histogram": "histogram",
    "line": "line",
    "lineseries": "line_series",
    "pr_curve": "curve",
    "roc": "curve",
    "scatter": "scatter",
}
"""Kinds of chart by the middle part of wandb's names for them: "wandb/line/v0" is a line."""


class Chart:
    """A table to be drawn: what the functions of `milepost.plot` and `milepost.plots` give, to be logged.

    table: the rows; `chart.table.get_dataframe()` is a pandas frame of them.
    spec:  wandb's name for the kind of chart, such as "wandb/line/v0".
    fields: which column is drawn as what: {"x": "step", "y": "loss"}.
    strings: texts of the chart: "title", "x-axis-title", ...
    split_table: accepted as in wandb, without effect.

    Row form: that of its table, with `_type` "chart-file", `kind`, `title`, `fields`, `strings` and `spec`. Logged as KEY, the
    row also has the table alone, as KEY_table, which is where scripts for wandb look for it.
    """

    type_name: ClassVar[str] = "chart-file"

    def __init__(
        self,
        table: Table,
        spec: str,
        fields: Mapping[str, str],
        strings: Mapping[str, Any] | None = None,
        split_table: bool = False,
    ) -> None:
        self.table = table
        self.spec = spec
        self.fields = dict(fields)
        self.strings = {name: str(text) for name, text in (strings or {}).items() if text is not None}
        self.split_table = split_table

    def __repr__(self) -> str:
        return f"Chart({self.kind}, {self.table!r})"

    @property
    def kind(self) -> str:
        """What it is drawn as: curve, line, line_series, scatter, bar, histogram, confusion_matrix, or custom."""
        parts = self.spec.split("/")
        return KINDS.get(parts[1], "custom") if parts[0] == "wandb" and len(parts) > 1 else "custom"

    def as_value(self) -> dict[str, Any]:
        """The mapping that stands in the row."""
        return {
            **self.table.as_value(),
            "_type": self.type_name,
            "kind": self.kind,
            "title": self.strings.get("title", ""),
            "fields": self.fields,
            "strings": self.strings,
            "spec": self.spec,
        }


def table_value(value: Mapping[str, Any]) -> dict[str, Any]:
    """The row form of a chart's table alone, of the chart's."""
    kept = {key: item for key, item in value.items() if key not in ("kind", "title", "fields", "strings", "spec")}
    return kept | {"_type": "incremental-table-file" if "increment_num" in value else "table-file"}


def table_of(caller: str, table: Any, fields: Mapping[str, Any]) -> Table:
    """The table of a chart, checked: it is one (or a data frame), and has the columns that are drawn. Raises DataError."""
    if is_frame(table):
        table = Table(dataframe=table, allow_mixed_types=True)
    if not isinstance(table, Table):
        raise DataError(
            f"{caller}: table must be a milepost.Table or a data frame, got {type(table).__name__}; "
            "make one with milepost.Table(columns=[...], data=[[...], ...])"
        )
    for argument, column in fields.items():
        if column not in table.columns:
            raise DataError(
                f"{caller}: {argument}={column!r} is no column of the table; columns are {listed(table.columns)}"
            )
    return table
