"""What is written about the project is true of it: documents, rules, profiles, the layout."""

import difflib
import re
import shutil
from pathlib import Path

import pytest
import yaml

import sdbench
from sdbench.config.docs import main as write_docs
from sdbench.report.figures.catalogue import FIGURES
from sdbench.runtime.code import read_module
from sdbench.tables.image_comparison import SSIM_WINDOW_PX
from tests.conftest import ROOT


def test_what_is_made_of_options_and_schema_is_up_to_date(tmp_path: Path) -> None:
    made = [tmp_path / name for name in ("schema.yaml", "README.md")]
    for file in made:
        shutil.copy(ROOT / "config" / file.name, file)
    write_docs(*made)
    for file in made:
        there = (ROOT / "config" / file.name).read_text().splitlines()
        stale = difflib.unified_diff(there, file.read_text().splitlines(), lineterm="")
        assert not "\n".join(stale), f"config/{file.name}: run `make docs`"


def test_every_preset_is_described() -> None:
    text = (ROOT / "config/README.md").read_text()
    for preset in (ROOT / "config/presets").glob("*.yaml"):
        assert f"`presets/{preset.name}`" in text


def test_links_and_paths_in_the_documents_lead_somewhere() -> None:
    for document in (*ROOT.glob("*.md"), ROOT / "config/README.md", ROOT / "resources/README.md"):
        for target in re.findall(r"\]\(([^)#]+)\)", document.read_text()):
            if "://" not in target:
                assert (document.parent / target).exists(), f"{document.name}: {target}"


def rules() -> dict[str, str]:
    text = "".join(path.read_text() for path in sorted((ROOT / "rules").glob("*.smk")))
    return dict(re.findall(r"^rule (\w+):\n(.*?)(?=^\S|\Z)", text, re.M | re.S))


def test_every_rule_has_its_script_and_environment() -> None:
    for name, rule in rules().items():
        assert f'"../scripts/{name}.py"' in rule, name
        assert (ROOT / "scripts" / f"{name}.py").exists()
        assert '"../envs/' in rule, name
        assert rule.startswith('    "'), f"{name} has no docstring"


def test_every_figure_has_its_script_and_caption() -> None:
    scripts = {path.stem for path in (ROOT / "scripts").glob("plot_*.py")}
    # Its rule is one of those that train `shapes`.
    assert scripts - {"plot_shapes_loss"} == {f"plot_{name}" for name in FIGURES}
    for name in FIGURES:
        assert (ROOT / f"report/{name}.rst").exists(), name


def test_every_caption_is_used() -> None:
    rules = "".join(p.read_text() for p in (ROOT / "rules").glob("*.smk"))
    named = re.findall(r'\btable\("(\w+)"\)|\breported\("[^"]+", "\w+", "(\w+)"\)', rules)
    captions = {path.stem for path in (ROOT / "report").glob("*.rst")}
    # That of the report itself is named by the Snakefile.
    assert captions - {"workflow"} == {*FIGURES, *(a or b for a, b in named)}


def test_the_version_is_the_one_to_cite() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert cited["version"] == sdbench.__version__


def test_onnx_runtime_is_imported_in_one_place_that_silences_it() -> None:
    for file in (ROOT / "scripts").rglob("*.py"):
        text = file.read_text()
        # A part of it may be imported after it.
        silenced = text.partition("from sdbench.export.ort import")[0]
        if file.name != "ort.py":
            assert not re.search(r"^\s*(import|from) onnxruntime\b(?!\.)", text, re.M), file
            assert not re.search(r"^\s*(import|from) onnxruntime\.", silenced, re.M), file


SLURM = ROOT / "profiles/slurm/config.yaml"


def test_every_entry_of_the_slurm_profile_has_its_reason() -> None:
    before = ""
    for line in SLURM.read_text().splitlines():
        if re.match(r"[a-z-]+:", line):
            assert before.startswith("#") or line.startswith("executor:"), line
        if not line.startswith("  "):
            # Entries that stand together share a reason.
            before = before if re.match(r"[a-z-]+:", line) else line
    assert before


def test_the_slurm_profile_is_no_sites_own() -> None:
    entries = yaml.safe_load(SLURM.read_text())
    assert not {"slurm_account", "slurm_partition"} & set(entries["default-resources"])
    for name, rule in rules().items():
        assert "slurm_partition" not in rule, name


def test_a_rule_runs_where_snakemake_does_or_says_what_it_needs() -> None:
    jobs = {name: rule for name, rule in rules().items() if "    resources:\n" in rule}
    for name, rule in jobs.items():
        assert re.search(r"mem_mb=|\*\*ON_DEVICE", rule) and "runtime=" in rule, name
    untrained = set(jobs) - {"train_shapes", "score_shapes"}
    row = re.search(r"^\| as jobs \| (.*) \|$", (ROOT / "docs/slurm.md").read_text(), re.M)
    assert row is not None
    assert untrained == set(re.findall(r"`(\w+)`", row[1]))


LIBRARY = ROOT / "scripts" / "sdbench"
ORDER = ["runtime", "cases", "records", "config", "devices", "models", "export", "backends",
         "measure", "tables", "analysis", "report"]  # fmt: skip
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


WINDOW = f"{SSIM_WINDOW_PX} x {SSIM_WINDOW_PX}"
SAID = {
    "SSIM is that of its window": (
        WINDOW,
        """
        docs/method.md config/schema.yaml config/README.md report/quality.rst
        report/quality_curve.rst report/speed_quality.rst scripts/plot_quality_curve.py
        scripts/plot_speed_quality.py scripts/sdbench/tables/image_comparison.py
        scripts/sdbench/tables/schemas.py
        """,
    ),
    "a search that ends at its limit has found no largest batch": (
        "at least that",
        "report/largest.rst config/schema.yaml config/README.md scripts/sdbench/tables/schemas.py",
    ),
    "a program also waits for its imports": (
        "import of",
        """
        docs/method.md README.md report/cold_start.rst report/results.rst
        scripts/plot_cold_start.py scripts/sdbench/tables/schemas.py
        """,
    ),
    "steps are not all of a call": ("46 times `step_s`", "config/presets/full-size-cpu.yaml"),
}
"""What is true of the numbers -> the words for it, and every file that has to say it."""


@pytest.mark.parametrize("true", SAID)
def test_numbers_are_called_what_they_are(true: str) -> None:
    words, files = SAID[true]
    for name in files.split():
        text = (ROOT / name).read_text().replace("\n# ", " ").replace('"', "")
        assert words in " ".join(text.split()), name
