"""Rank all that was measured or published by what the config says is needed."""

from pathlib import Path

from sdbench.analysis.choices import rank_choices

if __name__ == "__main__":
    from sdbench.runtime.job import run_script

    run_script(snakemake, rank_choices, table=Path(snakemake.output[0]))
