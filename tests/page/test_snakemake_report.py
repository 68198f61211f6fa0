"""Snakemake's own report, in a real browser: what a config says is text there too."""

from pathlib import Path

import yaml

from tests.conftest import copy_workflow, run_snakemake
from tests.page.conftest import Browser
from tests.unit.page_factory import HOSTILE

TABLE = "results/tables/quality.csv"


def test_a_prompt_is_text_in_snakemakes_report(browser: Browser, tmp_path: Path) -> None:
    """Snakemake writes the parameters of what made a result into a script, as they are."""
    folder = copy_workflow(tmp_path / "clone")
    config = yaml.safe_load((folder / "config/config.yaml").read_text())
    config["models"]["shapes"]["generation"]["prompt"] = HOSTILE
    (folder / "config/config.yaml").write_text(yaml.safe_dump(config))
    (folder / TABLE).parent.mkdir(parents=True)
    (folder / TABLE).write_text(f'name\n"{HOSTILE}"\n')
    run = run_snakemake(folder, "--report", "report.html", TABLE)
    assert run.returncode == 0, run.stdout + run.stderr
    browser.driver.get((folder / "report.html").as_uri())
    browser.wait("return document.querySelector('#app').textContent.includes('General')")
    assert browser.script("return window.hacked") is None
    assert browser.errors() == []
