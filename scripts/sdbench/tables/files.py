"""Tables as files: CSV, validated against its schema when it is written and when it is read."""

import warnings
from pathlib import Path
from typing import Any

from sdbench.runtime.errors import UserError, one_line, plain
from sdbench.runtime.files import check_seal, write_beside_seal

import pandas as pd
import pandera.pandas as pa

Row = dict[str, Any]
"""A row of a table by column; in those that were read, None for what is empty."""

REMEDY = "delete the file and run the workflow again"


def read_table(path: Path, schema: pa.DataFrameSchema, remedy: str = REMEDY) -> pd.DataFrame:
    """Read a CSV table and validate it.

    Raises:
        UserError: if the file holds no such table, or was changed since it was written; it names
            the file and the first fault, and gives the `remedy`.
    """
    check_seal(path, remedy)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            table = _read_cells(path)
        _check_columns([str(name) for name in table], list(schema.columns))
        for name, column in schema.columns.items():
            table[name] = _converted(table[name], str(column.dtype))
        return _validate(table, schema)
    except (
        pa.errors.SchemaError,
        pa.errors.SchemaErrors,
        pd.errors.ParserWarning,
        OSError,
        ValueError,
    ) as error:
        raise UserError(f"{path}: {plain(one_line(error), 300)}: {remedy}") from error


def _read_cells(path: Path) -> pd.DataFrame:
    """Return what a CSV file holds, as text, without the blank rows and columns that a spreadsheet
    leaves around a table."""
    with path.open(encoding="utf-8") as file:
        header = file.readline()
    for mark, name in ((";", "semicolons"), ("\t", "tabs")):
        if header.count(mark) > header.count(","):
            raise ValueError(
                f"found {name} between columns; allowed are commas, and points in numbers: save it "
                "as CSV with these"
            )
    # As text: what pandas would make of a column depends on its cells. Only the empty cell is
    # missing: a model may well be called "NA".
    cells = pd.read_csv(path, dtype=str, keep_default_na=False, na_values=[""], index_col=False)
    blank = cells.columns.str.fullmatch(r"Unnamed: \d+") & cells.isna().all()
    return cells.loc[:, ~blank].dropna(how="all").reset_index(drop=True)


def _check_columns(found: list[str], allowed: list[str]) -> None:
    missing = [name for name in allowed if name not in found]
    unknown = [name for name in found if name not in allowed]
    if missing or unknown:
        raise ValueError(f"columns missing: {_first(missing)}; unknown columns: {_first(unknown)}")
    if found != allowed:
        pairs = zip(found, allowed, strict=True)
        one, other = next((one, other) for one, other in pairs if one != other)
        raise ValueError(f"wrong order of columns: found `{one}`; allowed here is `{other}`")


def _first(names: list[str]) -> str:
    shown = ", ".join(plain(name, 30) for name in names[:3]) or "none"
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown


def _converted(cells: pd.Series, kind: str) -> pd.Series:
    """Return the cells of a column, given as text, as what its schema says that they are."""
    if kind in ("bool", "boolean"):
        # In capitals from a spreadsheet.
        told = cells.str.strip().str.capitalize()
        values: pd.Series = told.map({"True": True, "False": False}).astype("boolean")
        allowed = "True or False"
    elif kind in ("float64", "Int64"):
        values = pd.to_numeric(cells, errors="coerce")
        allowed = "a number, with a point and without spaces, commas or a unit"
        if kind == "Int64":
            values = values.where((values % 1 == 0) & (values.abs() < 2**53))
            values, allowed = values.astype("Int64"), "a whole number"
    else:
        return cells
    wrong = cells[values.isna() & cells.notna()]
    if not wrong.empty:
        raise ValueError(
            f"{cells.name}: row {wrong.index[0] + 1}: found {plain(wrong.iloc[0], 40)!r}; allowed "
            f"is {allowed}"
        )
    return values


def read_rows(path: Path, schema: pa.DataFrameSchema) -> list[Row]:
    """Read a CSV table as `read_table` does; return its rows."""
    return rows_of(read_table(path, schema))


def rows_of(table: pd.DataFrame) -> list[Row]:
    """Return the rows of a table."""
    return [
        {str(key): None if pd.isna(value) else value for key, value in row.items()}
        for row in table.to_dict("records")
    ]


def write_table(table: pd.DataFrame, path: Path, schema: pa.DataFrameSchema) -> None:
    """Validate `table`, and write it as CSV next to a seal, whole or not at all.

    Columns of the schema that `table` lacks are added empty; others are left out.

    Raises:
        pandera.errors.SchemaError: if a value is not what the schema allows: a fault of ours.
    """
    checked = _validate(table.reindex(columns=list(schema.columns)), schema)
    write_beside_seal(path, checked.to_csv(index=False).encode())


def _validate(table: pd.DataFrame, schema: pa.DataFrameSchema) -> pd.DataFrame:
    # An empty column of texts is read as numbers; a table without rows has no types at all.
    texts = [n for n, c in schema.columns.items() if c.dtype is not None and "str" in str(c.dtype)]
    for name in texts:
        if name in table and (table[name].isna().all() or table.empty):
            table[name] = table[name].astype("str").where(table[name].notna())
    return schema.validate(table)
