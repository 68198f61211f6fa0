"""Does the harness report what a bare loop would?

    PYTHONPATH=scripts python benchmarks/fidelity.py
    PYTHONPATH=scripts python benchmarks/fidelity.py --kind cuda --model FOLDER --size 512

In one process, on the bundled model or another, each round takes one sample in several ways, in
rotating order: by our meter, by a bare timed call of the same diffusers pipeline, by
torch.utils.benchmark, and on CUDA by the GPU's own events around a bare call. The geometric means
of their ratios must be within 1 % of one, or the program ends with status 1. It takes ten minutes
on two cores; with fewer rounds a machine that is not steady may fail by chance.
"""

import argparse
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.utils.benchmark
import yaml

from sdbench import backends
from sdbench.cases.case import Case, Variant
from sdbench.cases.expansion import RunConfig
from sdbench.config.check import check_config, load_schema, name_case
from sdbench.measure.latency import time_call
from sdbench.records.intervals import launch_interval

ROOT = Path(__file__).parent.parent
SHAPES = ROOT / "resources" / "models" / "shapes"
TOLERANCE = 0.01


def main() -> int:
    """Print the ratios of the medians with their 95 % intervals; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=180, help="6 or more")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--kind", choices=["cpu", "cuda"], default="cpu", help="cuda: in fp16")
    parser.add_argument("--model", type=Path, default=SHAPES, help="in the diffusers layout")
    parser.add_argument("--size", type=int, default=64, help="width and height in pixels")
    arguments = parser.parse_args()
    case = make_case(arguments.kind, arguments.threads, arguments.size)
    generated = case.generation
    engine = backends.load(case, arguments.model, None)
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

    def events() -> float:
        event: Any = torch.cuda.Event
        begin, end = (event(enable_timing=True) for _ in range(2))
        begin.record()
        bare_call()
        end.record()
        end.synchronize()
        return float(begin.elapsed_time(end)) / 1000

    ways: dict[str, Callable[[], float]] = {"ours": ours, "bare": bare, "torch": torchs}
    if arguments.kind == "cuda":
        ways["events"] = events
    samples = take_turns(ways, arguments.rounds)
    status = 0
    for name in list(ways)[1:]:
        pairs = zip(samples["ours"], samples[name], strict=True)
        ratio, low, high = launch_interval([ours_s / other_s for ours_s, other_s in pairs])
        good = abs(ratio - 1) <= TOLERANCE
        verdict = "ok" if good else "differs by more than 1 %"
        print(f"ours / {name}: {ratio:.4f}, 95 % interval {low:.4f} to {high:.4f}: {verdict}")
        status |= not good
    print(f"n = {arguments.rounds}, median {np.median(samples['ours']):.4f} s")
    return int(status)


def take_turns(ways: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Return the samples of each way, in rotating order, after one that is not counted."""
    samples: dict[str, list[float]] = {name: [] for name in ways}
    names = list(ways)
    for way in names:
        ways[way]()
    for i in range(rounds):
        first = i % len(names)
        for name in names[first:] + names[:first]:
            samples[name].append(ways[name]())
    return samples


def make_case(kind: str, threads: int, size: int) -> Case:
    """Return one image as the default config generates those of `shapes`, of a size in pixels: in
    fp32 on so many threads, or in fp16 on a GPU."""
    file = ROOT / "config" / "config.yaml"
    schema = load_schema(ROOT / "config" / "schema.yaml")
    config = yaml.safe_load(file.read_text())
    config["devices"] = {"gpu": {"kind": "cuda"}, "cpu": {"kind": "cpu", "threads": threads}}
    config["models"]["shapes"]["generation"] |= {"height": size, "width": size}
    device, precision = {"cpu": ("cpu", "fp32"), "cuda": ("gpu", "fp16")}[kind]
    variant = Variant("shapes", device, "pytorch", precision, "none")
    return name_case(RunConfig.of(check_config(config, schema, [file])), schema, variant, 1)


if __name__ == "__main__":
    sys.exit(main())
