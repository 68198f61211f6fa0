"""What ends a rule's script is in the rule's log, also before the log was opened."""

from pathlib import Path

from tests.conftest import ROOT, run_snakemake

RULE = """
rule probe:
    output:
        "x",
    log:
        "logs/probe.log",
    script:
        "probe.py"
"""


def test_a_failing_import_is_in_the_log(tmp_path: Path) -> None:
    (tmp_path / "Snakefile").write_text(RULE)
    (tmp_path / "sdbench").symlink_to(ROOT / "scripts" / "sdbench")
    (tmp_path / "probe.py").write_text("import sdbench\nimport no_such_package\n")
    assert run_snakemake(tmp_path, "--cores", "1").returncode != 0
    log = (tmp_path / "logs" / "probe.log").read_text()
    assert "ModuleNotFoundError: No module named 'no_such_package'" in log
