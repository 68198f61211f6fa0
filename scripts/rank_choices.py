"""Rank all that was measured or published by what the config says is needed."""

from sdbench.analysis.choices import rank_choices
from sdbench.runtime.job import run_script

if __name__ == "__main__":
    run_script(snakemake, rank_choices)
