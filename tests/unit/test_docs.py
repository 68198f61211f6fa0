"""What is written about the project is true of it."""

import difflib
import re
import shutil
from pathlib import Path

import yaml

import sdbench
from sdbench.config.docs import main as write_docs
from sdbench.report.figures.catalogue import FIGURES
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


def test_every_rule_has_its_script_log_and_environment() -> None:
    for file in (ROOT / "rules").glob("*.smk"):
        for rule in re.split(r"^rule ", file.read_text(), flags=re.M)[1:]:
            name = rule.partition(":")[0]
            assert f'"../scripts/{name}.py"' in rule, name
            assert (ROOT / "scripts" / f"{name}.py").exists()
            assert f"<logs>/{name}" in rule, name
            assert '"../envs/' in rule, name
            assert re.match(r'\w+:\n    "', rule), f"{name} has no docstring"


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
