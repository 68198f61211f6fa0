"""What a finished run shows, in a real browser: its page and Snakemake's own report."""

import shutil
from pathlib import Path

from tests.conftest import run_snakemake
from tests.page.conftest import Browser


def test_the_page_of_a_run_has_no_error_and_asks_nobody(browser: Browser, finished: Path) -> None:
    page = finished / "results/report.html"
    browser.open_whole(page)
    assert browser.script("return window.hacked") is None
    assert browser.errors() == []
    assert browser.requests() == [page.as_uri()]


def test_snakemakes_report_has_every_result_and_a_config_is_text_in_it(
    browser: Browser, finished: Path, tmp_path: Path
) -> None:
    """Snakemake writes the parameters of what made a result into a script, as they are."""
    report = tmp_path / "report.zip"
    run = run_snakemake(finished, "--report", str(report), timeout=300)
    assert run.returncode == 0, run.stdout + run.stderr
    shutil.unpack_archive(report, tmp_path)
    browser.driver.get((tmp_path / "report/report.html").as_uri())
    browser.wait("return document.querySelector('#app').textContent.includes('Results')")
    results = finished / "results"
    made = [*results.glob("tables/*.csv"), *results.glob("figures/*.png")]
    assert len(made) > 30
    shown = set(browser.script("return Object.keys(results)"))
    # Which prompts a set has is anybody's text.
    wanted = {path.relative_to(finished).as_posix() for path in made}
    assert wanted - shown == {"results/tables/quality_pairs.csv"}
    assert browser.script("return window.hacked") is None
    assert browser.errors() == []
