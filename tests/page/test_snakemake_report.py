"""Snakemake's own report, in a real browser: what a config says is text there too."""

from pathlib import Path

import yaml

from tests.conftest import copy_workflow, run_snakemake
from tests.page.conftest import Browser
from tests.unit.page_factory import HOSTILE

TABLES = (
    *("cases", "results", "largest", "ceilings", "noise", "races"),
    *("exports", "quality", "published", "findings", "choices", "fits"),
)
FIGURES = ("speed", "cost", "threads", "quality_panel")


def test_a_config_is_text_in_snakemakes_report(browser: Browser, tmp_path: Path) -> None:
    """Snakemake writes the parameters of what made a result into a script, as they are."""
    folder = copy_workflow(tmp_path / "clone")
    config = yaml.safe_load((folder / "config/config.yaml").read_text())
    config["models"]["shapes"]["generation"]["prompt"] = HOSTILE
    config["devices"]["cpu"]["constraint"] = HOSTILE
    (folder / "config/config.yaml").write_text(yaml.safe_dump(config))
    results = [f"results/tables/{name}.csv" for name in TABLES]
    results += [f"results/figures/{name}.{kind}" for name in FIGURES for kind in ("png", "svg")]
    results += ["results/findings.md"]
    for name in results:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(HOSTILE)
    run = run_snakemake(folder, "--report", "report.html", *results)
    assert run.returncode == 0, run.stdout + run.stderr
    browser.driver.get((folder / "report.html").as_uri())
    browser.wait("return document.querySelector('#app').textContent.includes('Results')")
    shown = {name for name in results if not name.endswith(".svg")}
    assert shown <= set(browser.script("return Object.keys(results)"))
    assert browser.script("return window.hacked") is None
    assert browser.errors() == []
