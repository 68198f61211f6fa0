"""Does the harness report what a bare loop would?

    PYTHONPATH=scripts python benchmarks/fidelity.py

In one process, on the bundled model, each round takes one sample in three ways, in rotating order:
by our meter, by a bare timed call of the same diffusers pipeline, and by torch.utils.benchmark. The
medians must agree within 1 %, or the program ends with status 1.
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.utils.benchmark
import yaml

from sdbench import backends
from sdbench.cases.case import Case, Variant
from sdbench.cases.expansion import RunConfig
from sdbench.config.check import check_config, load_schema, name_case
from sdbench.measure.intervals import launch_interval
from sdbench.measure.latency import time_call

ROOT = Path(__file__).parent.parent
TOLERANCE = 0.01


def main() -> int:
    """Print the ratios of the medians with their 95 % intervals; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=60, help="6 or more")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    case = default_case(arguments.threads)
    generated = case.generation
    engine = backends.load(case, ROOT / "resources" / "models" / "shapes", None)
    latents = engine.latents(generated, 1)

    def bare_call() -> None:
        with torch.inference_mode():
            engine.pipeline(
                prompt=[generated["prompt"]],
                height=generated["height"],
                width=generated["width"],
                num_inference_steps=generated["steps"],
                guidance_scale=generated["guidance"],
                latents=latents,
                output_type="np",
            )

    timer = torch.utils.benchmark.Timer(
        "call()", globals={"call": bare_call}, num_threads=arguments.threads
    )

    def ours() -> float:
        return time_call(lambda: engine.generate(generated, latents), engine.synchronize)

    def bare() -> float:
        begin = time.perf_counter()
        bare_call()
        return time.perf_counter() - begin

    def torchs() -> float:
        return float(timer.timeit(1).times[0])

    ways: dict[str, Callable[[], float]] = {"ours": ours, "bare": bare, "torch": torchs}
    samples: dict[str, list[float]] = {name: [] for name in ways}
    names = list(ways)
    for way in names:
        ways[way]()
    for i in range(arguments.rounds):
        for name in names[i % 3 :] + names[: i % 3]:
            samples[name].append(ways[name]())
    status = 0
    for name in ("bare", "torch"):
        pairs = zip(samples["ours"], samples[name], strict=True)
        ratio, low, high = launch_interval([ours_s / other_s for ours_s, other_s in pairs])
        good = abs(ratio - 1) <= TOLERANCE
        verdict = "ok" if good else "differs by more than 1 %"
        print(f"ours / {name}: {ratio:.4f}, 95 % interval {low:.4f} to {high:.4f}: {verdict}")
        status |= not good
    print(f"n = {arguments.rounds}, median {np.median(samples['ours']):.4f} s")
    return int(status)


def default_case(threads: int) -> Case:
    """Return one image of the default config in fp32, on so many threads."""
    file = ROOT / "config" / "config.yaml"
    schema = load_schema(ROOT / "config" / "schema.yaml")
    config = yaml.safe_load(file.read_text())
    config["devices"] = {"cpu": {"threads": threads}}
    variant = Variant("shapes", "cpu", "pytorch", "fp32", "none")
    return name_case(RunConfig.of(check_config(config, schema, [file])), schema, variant, 1)


if __name__ == "__main__":
    sys.exit(main())
