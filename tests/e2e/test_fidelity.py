"""The benchmark that others may hold us to must run; what it finds is for a quiet machine."""

import re
import subprocess
import sys

from tests.conftest import ROOT


def test_the_meter_is_set_against_a_bare_loop_and_torchs_own() -> None:
    run = subprocess.run(
        [sys.executable, "benchmarks/fidelity.py", "--rounds", "3", "--threads", "1"],
        cwd=ROOT,
        env={"PATH": "", "PYTHONPATH": str(ROOT / "scripts")},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    ratios = re.findall(r"^ours / (bare|torch): ([0-9.]+), 95 % interval", run.stdout, re.M)
    assert [name for name, _ in ratios] == ["bare", "torch"], run.stderr
    # Three rounds on a machine that others use: one call must not count as two.
    assert all(0.5 < float(ratio) < 2 for _, ratio in ratios), run.stdout
