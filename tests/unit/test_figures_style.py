from itertools import pairwise
from pathlib import Path

from matplotlib import colors

from sdbench.report.figures import style
from sdbench.tables import labels
from sdbench.tables.published import Condition
from tests.conftest import run_python


def luminance(name: str) -> float:
    """Relative luminance of WCAG 2: what grey print keeps."""
    linear = [
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colors.to_rgb(name)
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_colours_differ_in_grey_print() -> None:
    greys = [luminance(name) for name in style.PRECISIONS.values()]
    assert all((light + 0.05) / (dark + 0.05) > 1.3 for dark, light in pairwise(greys))


def test_colours_of_the_unknown_and_lighter_ones() -> None:
    assert style.colour("int4") == style.OTHER
    assert style.lighter("#102030", 0) == "#102030"
    assert style.lighter("#102030", 1) == "#ffffff"


PLOT = """
import sys
from pathlib import Path
from sdbench.report.figures import style
from matplotlib.figure import Figure
figure = Figure(figsize=(2, 2))
figure.add_subplot(title="a_b").barh([0], [1], hatch=style.HATCH)
figure.axes[0].plot([0, 1])
style.save_images(figure, *map(Path, sys.argv[1:]))
"""
MATPLOTLIBRC = """
text.usetex: True
axes.grid: True
savefig.bbox: tight
lines.linewidth: 6
font.size: 30
backend: TkAgg
svg.fonttype: none
"""


def test_the_same_figure_gives_the_same_files_whatever_others_look_like(tmp_path: Path) -> None:
    (tmp_path / "matplotlibrc").write_text(MATPLOTLIBRC)
    for name, variables in (("a", {}), ("b", {"MATPLOTLIBRC": str(tmp_path / "matplotlibrc")})):
        done = run_python(PLOT, *(tmp_path / f"{name}.{e}" for e in ("png", "svg")), **variables)
        assert done.returncode == 0, done.stderr
    for ending in ("png", "svg"):
        assert (tmp_path / f"a.{ending}").read_bytes() == (tmp_path / f"b.{ending}").read_bytes()


def test_wrapped_lines_fit_and_lose_nothing() -> None:
    text = "a line that is rather long and has to be broken somewhere"
    wrapped = style.wrap(text, 8, 1.5)
    assert wrapped.replace("\n", " ") == text
    assert all(style.text_width(line, 8) <= 1.5 for line in wrapped.split("\n"))


def test_fitted_text_is_cut_at_a_word() -> None:
    assert style.fit("all of it", 8, 5) == "all of it"
    short = style.fit("a message that goes on and on", 8, 1.0)
    assert short.endswith(" …") and "a message that goes on and on".startswith(short[:-2])
    assert style.text_width(short, 8) <= 1.0


DEVICES = {
    "NVIDIA GeForce RTX 3090": "RTX 3090",
    "NVIDIA A100 80GB PCIe": "A100 80GB PCIe",
    "Quadro RTX 8000": "Quadro RTX 8000",
    "Intel(R) Core(TM) i7-6850K CPU @ 3.60GHz": "Intel Core i7-6850K",
    "AMD EPYC 7352 24-Core Processor": "AMD EPYC 7352",
}
NUMBERS = {0.0: "0", 0.4567: "0.457", 0.0123: "0.0123", 3.9: "3.90", 26.3: "26.3", 458.97: "459",
           12345.0: "12345"}  # fmt: skip


def test_labels_say_it_short() -> None:
    assert {name: labels.device_label(name) for name in DEVICES} == DEVICES
    assert {value: labels.number(value) for value in NUMBERS} == NUMBERS
    short = labels.shorten("first" + "x" * 100 + "last")
    assert len(short) == labels.LONGEST
    assert short.startswith("first") and short.endswith("last")
    shown = labels.condition_label(Condition("shapes", 64, 32, 20, "ddim", False))
    assert shown == f"shapes, 64 {labels.TIMES} 32 px, 20 steps DDIM, no guidance"
    assert labels.status_label("oom", "CUDA out of memory. Tried ...") == "out of memory"
    assert labels.status_label("unsupported", "no bf16") == "not supported: no bf16"
    assert labels.listing(["a", "b", "a", "c"]) == "a, b and c"
