"""The library's folders: which there are, and that imports go one way."""

from sdbench.runtime.code import read_module
from tests.conftest import ROOT

LIBRARY = ROOT / "scripts" / "sdbench"
ORDER = (
    "runtime",
    "cases",
    "records",
    "config",
    "devices",
    "models",
    "export",
    "backends",
    "measure",
    "tables",
    "analysis",
    "report",
)
"""A module imports from its own folder and from those before it."""


def test_every_module_is_in_a_folder_of_the_plan() -> None:
    assert {path.name for path in LIBRARY.glob("*.py")} == {"__init__.py"}
    folders = {path.relative_to(LIBRARY).parts[0] for path in LIBRARY.rglob("*.py")}
    assert folders - {"__init__.py"} == set(ORDER)


def test_imports_go_one_way() -> None:
    backwards = {
        (path.relative_to(LIBRARY).as_posix(), name)
        for path in LIBRARY.rglob("*.py")
        for name in read_module(path).imports
        if path.parent != LIBRARY and name.startswith("sdbench.")
        if ORDER.index(name.split(".")[1]) > ORDER.index(path.relative_to(LIBRARY).parts[0])
    }
    assert not backwards
