"""Race the denoisers of all variants of one model on one device with one backend."""

from sdbench.cases.case import Pair
from sdbench.cases.measuring import Racing
from sdbench.measure.context import make_context
from sdbench.measure.races import run_races

if __name__ == "__main__":
    from sdbench.runtime.job import logged

    with logged(snakemake.log[0], snakemake.output):
        pairs = [Pair.from_dict(pair) for pair in snakemake.params.pairs]
        measuring = Racing(**snakemake.params.measuring)
        run_races(pairs, make_context(snakemake, pairs[0].case.device, measuring))
