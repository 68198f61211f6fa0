"""The digest of a rule's code: what changes it, and what does not."""

import ast
import re
import shutil
from pathlib import Path

import pytest

from sdbench.runtime.code import INFRASTRUCTURE, code_digest, reached, read_module
from sdbench.runtime.job import _FOR_SNAKEMAKE
from tests.environments import BACKENDS, SCRIPTS

LIBRARY = SCRIPTS / "sdbench"
EVERY_SCRIPT = sorted(script.name for script in SCRIPTS.glob("*.py"))
PLOTS = [name for name in EVERY_SCRIPT if name.startswith("plot_")]
RUN_A_BACKEND = {
    *("generate_images.py", "measure_sweep.py", "profile_case.py"),
    *("race_denoisers.py", "search_settings.py", "predict_memory.py"),
}
MEASURING = [*sorted(RUN_A_BACKEND), "measure_peak_throughput.py"]


def digests(scripts: Path, backend: str = "pytorch") -> dict[str, str]:
    return {name: code_digest(scripts / name, {"backend": [backend]}) for name in EVERY_SCRIPT}


def after(tmp_path: Path, file: str, text: str, backend: str = "pytorch") -> set[str]:
    """Return the scripts whose digest changes when `text` is added at the end of a file.

    The change is made in a copy: where the code lies plays no part, or it would be all of them.
    """
    changed = shutil.copytree(SCRIPTS, tmp_path / "changed")
    with (changed / file).open("a") as module:
        module.write(text)
    before, now = digests(SCRIPTS, backend), digests(changed, backend)
    return {name for name in EVERY_SCRIPT if now[name] != before[name]}


COMPARING = {
    *("compare_quality.py", "collect_quality_set.py", "collect_records.py", "write_findings.py")
}
"""The scripts that compare images."""


def test_a_change_of_a_module(tmp_path: Path) -> None:
    assert after(tmp_path, "sdbench/tables/image_comparison.py", "# changed\n") == COMPARING


@pytest.mark.parametrize(
    "statement",
    [
        "from sdbench.models.shapes import reader\n",
        "def late() -> None:\n    import sdbench.models.shapes.reader\n",
        "try:\n    pass\nfinally:\n    if 1:\n        from sdbench.models.shapes.reader import x\n",
    ],
    ids=["module", "function", "blocks"],
)
def test_an_import_that_is_added(tmp_path: Path, statement: str) -> None:
    """What it names counts from then on, for those that reach the module and for no others."""
    assert after(tmp_path, "sdbench/tables/image_comparison.py", statement) == COMPARING
    scripts = tmp_path / "changed"
    for name in EVERY_SCRIPT:
        files = reached(scripts / name, {"backend": ["pytorch"]})
        reading = COMPARING | {"score_shapes.py", "judge_images.py"}
        assert (scripts / "sdbench/models/shapes/reader.py" in files) == (name in reading), name
        if name in COMPARING:
            assert scripts / "sdbench/models/shapes/__init__.py" in files


def test_plotting_and_measuring_know_nothing_of_each_other(tmp_path: Path) -> None:
    changed = after(tmp_path, "sdbench/report/figures/style.py", "# changed\n")
    assert changed == {*PLOTS, "write_page.py"}
    seeing = re.compile(r"sdbench/(analysis|report|tables|models/shapes)/")
    computing = re.compile(r"sdbench/(backends|export|measure|models)/|.*/(platforms|processes).py")
    for names, others in ((MEASURING, seeing), (PLOTS, computing)):
        for name in names:
            files = reached(SCRIPTS / name, {}, without=INFRASTRUCTURE)
            found = [path.relative_to(SCRIPTS).as_posix() for path in files]
            assert not list(filter(others.match, found)), name


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_backend_counts_for_those_that_run_it(tmp_path: Path, backend: str) -> None:
    changed = after(tmp_path, "sdbench/backends/openvino.py", "# changed\n", backend)
    assert changed == (RUN_A_BACKEND if backend == "openvino" else set())


def test_the_backends_that_are_named_count_or_all() -> None:
    def loaded(script: str, **values: list[str]) -> set[str]:
        files = reached(SCRIPTS / script, values)
        return {path.stem for path in files if path.parent.name == "backends"} & set(BACKENDS)

    both = ["openvino", "pytorch"]
    assert loaded("race_denoisers.py", backend=both) == set(both)
    assert loaded("measure_sweep.py") == set(BACKENDS)
    with pytest.raises(FileNotFoundError, match=re.escape("{backend}.py: no file for")):
        loaded("measure_sweep.py", backend=["tensorflow"])


@pytest.mark.parametrize(
    ("file", "scripts"),
    [
        ("sdbench/models/families/flux.py", {*RUN_A_BACKEND, "build_model.py", "export_onnx.py"}),
        ("sdbench/records/record.schema.yaml", {"measure_sweep.py", "collect_records.py"}),
        ("sdbench/report/page/page.js", {"write_page.py"}),
    ],
)
def test_what_is_loaded_by_name(tmp_path: Path, file: str, scripts: set[str]) -> None:
    changed = after(tmp_path, file, "# changed\n")
    assert scripts <= changed
    assert not changed & {*PLOTS, "measure_peak_throughput.py"}


@pytest.mark.parametrize("annotation", ["", ": str", ": Final[str]"])
def test_what_is_loaded_by_name_may_have_a_type(annotation: str, tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text(f'LOADED_BY_NAME{annotation} = "{{backend}}.py"\n')
    assert read_module(module).loaded_by_name == "{backend}.py"


@pytest.mark.parametrize("file", INFRASTRUCTURE)
def test_what_no_number_depends_on(tmp_path: Path, file: str) -> None:
    assert after(tmp_path, file, "import sdbench.models.shapes.reader\n") == set()


def test_no_file_of_the_library_is_forgotten() -> None:
    """Data counts for whoever reads it, and what loads modules by name says which."""
    found = set().union(*(reached(SCRIPTS / name, {}) for name in EVERY_SCRIPT))
    data = {
        path for path in LIBRARY.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")
    }
    assert data and data <= found
    loading = re.compile(r"import_module\(|__import__\(|iter_modules\(|spec_from_file|runpy")
    modules = [path for path in LIBRARY.rglob("*.py") if loading.search(path.read_text())]
    assert modules and all(read_module(path).loaded_by_name for path in modules)


def test_no_script_asks_for_an_input_that_is_there_for_snakemake_alone() -> None:
    """`run_script` leaves it out, and the job would end for want of it."""
    called = 0
    for path in SCRIPTS.glob("*.py"):
        tree = ast.parse(path.read_text())
        works = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "run_script":
                work = works.get(ast.unparse(node.args[1]))
                if work is None:  # a function of the library
                    continue
                asked = {argument.arg for argument in work.args.args}
                assert not asked & set(_FOR_SNAKEMAKE), path.name
                called += 1
    assert called > 10
