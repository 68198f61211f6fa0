"""Text of configs, models and others' tables stays text: in figures, shells and file names.

What it is on the page, tests/unit/test_page.py and tests/page/test_page.py look at.
"""

import shlex
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import pytest
from matplotlib.text import Text
from snakemake_executor_plugin_slurm.submit_string import get_submit_command

from sdbench.report.figures import style
from sdbench.report.figures.panels import plot_sheet
from sdbench.report.page.document import read_svg
from tests.conftest import ROOT
from tests.reliability import Tally
from tests.unit.figure_reading import sheet_of
from tests.unit.tables_factory import SHAPES, latency_row

NAMES = [
    *(r"$\frac{1}{$", "a $50 card for $20", "$x_{2}^2$", "]]><x>", "a & b &lt; c"),
    *("</svg><script>alert(1)</script>", "--><script>alert(1)</script><!--"),
    *("{device} %s %(x)s", "\u202egpj", "日本 😀"),
]


def test_names_are_plotted_as_they_are(tmp_path: Path, tally: Tally) -> None:
    named = ("device_name", "model", "device")
    rows = [latency_row(SHAPES | dict.fromkeys(named, name), 4.0) for name in NAMES]
    figure = plot_sheet(sheet_of("speed", rows, tmp_path))
    assert not any(text.get_parse_math() for text in figure.findobj(Text))
    png, svg = tmp_path / "figure.png", tmp_path / "figure.svg"
    style.save_images(figure, png, svg)
    tags = {element.tag.rpartition("}")[2] for element in ElementTree.parse(svg).iter()}
    assert "script" not in tags and "x" not in tags
    assert read_svg(svg).source.startswith("data:image/svg+xml;base64,")
    for _ in NAMES:
        tally.tried("text that is code elsewhere", "accepted")


SHELL = [
    *("a100; touch canary", "$(touch canary)", "`touch canary`", "| touch canary"),
    *("a'; touch canary; '", '" ; touch canary ; "', "a\ntouch canary", "--wrap=touch canary"),
]


class Resources(dict[str, Any]):
    """Resources of a job as the plugin asks for them."""

    __getattr__ = dict.get


@pytest.mark.parametrize("constraint", SHELL)
def test_a_constraint_is_one_argument(constraint: str, tmp_path: Path, tally: Tally) -> None:
    """SLURM's plugin quotes it, on which this project relies."""
    job = SimpleNamespace(
        resources=Resources(constraint=constraint, runtime=1, mem_mb=1000), threads=1, name="r"
    )
    params = {"run_uuid": "r", "slurm_logfile": "l", "comment_str": "c", "workdir": "."}
    params |= {"account": "", "partition": ""}
    command = get_submit_command(job, params)
    words = shlex.split(command)
    assert words[words.index("-C") + 1] == constraint
    stand_in = tmp_path / "sbatch"
    stand_in.write_text("#!/bin/sh\n")
    stand_in.chmod(0o755)
    subprocess.run(
        command, shell=True, cwd=tmp_path, env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, check=True
    )
    assert [path.name for path in tmp_path.iterdir()] == ["sbatch"]
    tally.tried("text that is code elsewhere", "accepted")


def test_no_rule_gives_text_to_a_shell() -> None:
    """Every rule runs a script of Python, which takes its parameters as they are."""
    for file in [ROOT / "Snakefile", *(ROOT / "rules").glob("*.smk")]:
        text = file.read_text()
        for word in ("shell:", "shell(", "run:", "os.system", "subprocess", "eval(", "exec("):
            assert word not in text, f"{file.name}: {word}"
