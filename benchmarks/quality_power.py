"""Which damage does a set of images find, and with how many pairs?

    PYTHONPATH=scripts python benchmarks/quality_power.py [--seeds 2] [--draws 100] [--keep FILE]

Generates images of all captions of the bundled model, as it is and with damage that is known, and
scores them as `quality_set` does. Then draws sets of n pairs from all of these, with replacement,
and prints how often each verdict comes out. Two kinds of images have no damage: those of batches of
another size, which differ by rounding, and those of other latents, which differ by chance alone.
Ends with status 1 unless what differs by rounding is called `same` in 95 of 100 sets of 64.
"""

import argparse
import contextlib
import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from sdbench import backends
from sdbench.analysis.quality_set import STEPS, judge_difference, paired_difference
from sdbench.backends.engine import Engine
from sdbench.cases.case import Case, Variant
from sdbench.cases.expansion import RunConfig
from sdbench.config.check import check_config, load_schema, name_case
from sdbench.measure.image_series import generate_set
from sdbench.measure.judges import judge_shapes
from sdbench.models.shapes.scenes import descriptions
from sdbench.tables.image_comparison import psnr_db
from sdbench.tables.schemas import BETTER, SAME, UNSAID, WORSE

ROOT = Path(__file__).parent.parent
SIZES = (16, 32, 64, 128, 256)
BITS = (8, 6, 5, 4, 3, 2)
BATCH, OTHER_BATCH = 15, 9
JUDGED, SAME_AT = "shapes", 64
ROUNDING = "rounding"


def main() -> int:
    """Print the verdicts; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=2, help="2 or more")
    parser.add_argument("--draws", type=int, default=100, help="sets of each size")
    parser.add_argument("--margin", type=float, default=0.05)
    parser.add_argument("--keep", type=Path, help="a JSON of scores, which is made where not there")
    arguments = parser.parse_args()
    kept = arguments.keep
    if kept and kept.exists():
        found = json.loads(kept.read_text())
    else:
        found = generate(arguments.seeds)
        if kept:
            kept.write_text(json.dumps(found))
    print(f"margin {arguments.margin}, {arguments.draws} sets of each n: same/worse/better/unsaid")
    same = 0
    for name, one in found.items():
        differences = np.array(one["differences"])
        line = [f"{name:>12}: true {differences.mean():+.4f}, PSNR {one['psnr_db']:.1f} dB;"]
        for n in SIZES:
            verdicts = draw(differences, n, arguments.draws, arguments.margin)
            line.append(f"{n}: {'/'.join(str(verdicts[v]) for v in (SAME, WORSE, BETTER, UNSAID))}")
            if (name, n) == (ROUNDING, SAME_AT):
                same = verdicts[SAME]
        print("  ".join(line), flush=True)
    good = same >= 0.95 * arguments.draws
    print(f"without damage {same} of {arguments.draws} sets of {SAME_AT} are called same")
    return int(not good)


def draw(differences: Any, n: int, draws: int, margin: float) -> Counter[str]:
    """Return how often each verdict came of sets of `n` pairs."""
    random = np.random.default_rng(n)
    sets = (random.choice(differences, n) for _ in range(draws))
    estimates = (paired_difference(one.tolist(), STEPS[JUDGED]) for one in sets)
    return Counter(judge_difference(found, margin, n)[0] for found in estimates)


def generate(seeds: int) -> dict[str, dict[str, Any]]:
    """Return by damage the differences of the scores, pair by pair, and the median PSNR."""
    case = default_case()
    engine = backends.load(case, ROOT / "resources" / "models" / "shapes", None)
    captions = [what.caption for what in descriptions()]
    wanted = [(c, n, seed) for seed in range(seeds) for n, c in enumerate(captions)]
    prompts = [prompt for prompt, _, _ in wanted]
    reference = images(engine, case, wanted, BATCH)
    scores = np.array(judge_shapes(reference, prompts), float)
    print(f"score without damage {scores.mean():.4f}, n = {len(scores)}", flush=True)

    def compare(name: str, other: Any) -> None:
        own = np.array(judge_shapes(other, prompts), float)
        pairs = zip(reference, other, strict=True)
        decibels = float(np.median([min(psnr_db(*pair), 99.0) for pair in pairs]))
        found[name] = {"differences": (own - scores).tolist(), "psnr_db": decibels}
        print(f"{name}: {found[name]['psnr_db']:.1f} dB, {(own - scores).mean():+.4f}", flush=True)

    found: dict[str, dict[str, Any]] = {}
    compare(ROUNDING, images(engine, case, wanted, OTHER_BATCH))
    # Each caption with the image of another seed.
    compare("other noise", np.roll(reference, len(captions), axis=0))
    for bits in BITS:
        with rounded(engine, bits):
            compare(f"{bits} bits", images(engine, case, wanted, BATCH))
    for name, changes in (
        ("guidance", {"guidance": 0.9 * case.generation["guidance"]}),
        ("one step", {"steps": case.generation["steps"] - 1}),
    ):
        other = replace(case, generation={**case.generation, **changes})
        compare(name, images(engine, other, wanted, BATCH))
    return found


def images(engine: Engine, case: Case, wanted: Sequence[tuple[str, int, int]], batch: int) -> Any:
    """Return the image of each of `wanted`."""
    return np.concatenate([part for _, part in generate_set(engine, case, wanted, batch)])


@contextlib.contextmanager
def rounded(engine: Engine, bits: int) -> Iterator[None]:
    """Have the weights of the denoiser rounded to so many bits, each output channel by itself."""
    network = engine.pipeline.unet
    before: Mapping[str, torch.Tensor] = {k: v.clone() for k, v in network.state_dict().items()}
    with torch.no_grad():
        for weight in network.parameters():
            if weight.ndim > 1:
                largest = weight.flatten(1).abs().amax(dim=1).clamp_min(1e-12)
                step = (largest / (2 ** (bits - 1) - 1)).reshape(-1, *[1] * (weight.ndim - 1))
                weight.copy_((weight / step).round() * step)
    try:
        yield
    finally:
        network.load_state_dict(before)


def default_case() -> Case:
    """Return the images of the default config in fp32."""
    file = ROOT / "config" / "config.yaml"
    schema = load_schema(ROOT / "config" / "schema.yaml")
    config = yaml.safe_load(file.read_text())
    config["devices"] = {"cpu": {}}
    variant = Variant("shapes", "cpu", "pytorch", "fp32", "none")
    return name_case(RunConfig.of(check_config(config, schema, [file])), schema, variant, 1)


if __name__ == "__main__":
    sys.exit(main())
