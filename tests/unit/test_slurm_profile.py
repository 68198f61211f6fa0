"""What the SLURM profile says, and what rules say of themselves, needs no cluster to be checked."""

import re

import yaml

from tests.conftest import ROOT

PROFILE = ROOT / "profiles/slurm/config.yaml"


def rules() -> dict[str, str]:
    text = "".join(path.read_text() for path in sorted((ROOT / "rules").glob("*.smk")))
    return dict(re.findall(r"^rule (\w+):\n(.*?)(?=^\S|\Z)", text, re.M | re.S))


def test_every_entry_has_its_reason() -> None:
    before = ""
    for line in PROFILE.read_text().splitlines():
        if re.match(r"[a-z-]+:", line):
            assert before.startswith("#") or line.startswith("executor:"), line
        if not line.startswith("  "):
            # Entries that stand together share a reason.
            before = before if re.match(r"[a-z-]+:", line) else line
    assert before


def test_it_is_no_sites_own() -> None:
    entries = yaml.safe_load(PROFILE.read_text())
    assert not {"slurm_account", "slurm_partition"} & set(entries["default-resources"])
    for name, rule in rules().items():
        assert "slurm_partition" not in rule, name


def test_a_rule_runs_where_snakemake_does_or_says_what_it_needs() -> None:
    jobs = {name: rule for name, rule in rules().items() if "localrule: True" not in rule}
    for name, rule in jobs.items():
        assert re.search(r"mem_mb=|\*\*ON_DEVICE", rule) and "runtime=" in rule, name
    untrained = set(jobs) - {"train_shapes", "score_shapes"}
    row = re.search(r"^\| as jobs \| (.*) \|$", (ROOT / "docs/slurm.md").read_text(), re.M)
    assert row is not None
    assert untrained == set(re.findall(r"`(\w+)`", row[1]))
