"""How far do exported engines get from PyTorch's image over a whole call?

    snakemake results/onnx/sd-v1 results/openvino/sd-v1
    PYTHONPATH=scripts python benchmarks/agreement.py results sd-v1 [--size 512] [--steps 50]

Prints for each engine, in fp32, what `sdbench.measure.agreement` holds it to before it is timed:
the denoiser's divergence in the first and in a middle evaluation, and the PSNR of the image. Ends
with status 1 if one is refused.
"""

import argparse
import math
import sys
from pathlib import Path

import torch

from sdbench import backends
from sdbench.cases.case import Case, Device, Variant
from sdbench.measure.agreement import check_agreement, compare, expected_by
from sdbench.runtime.errors import UserError


def main() -> int:
    """Print a line for each engine; return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", type=Path)
    parser.add_argument("model", help="a seeded or local one of the results")
    parser.add_argument("--size", type=int, default=512, help="width and height in pixels")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--scheduler", default="pndm")
    given = parser.parse_args()
    generation = {
        "prompt": "a photo of an astronaut riding a horse on mars",
        "steps": given.steps,
        "scheduler": given.scheduler,
        "guidance": 7.5,
        "height": given.size,
        "width": given.size,
        "seed": 0,
    }
    device = Device("cpu", threads=torch.get_num_threads())
    folder = given.results / "models" / given.model

    def case_of(backend: str) -> Case:
        return Case(Variant(given.model, "cpu", backend, "fp32", "none"), 1, generation, device)

    case = case_of("pytorch")
    expected = expected_by(backends.load(case, folder, None), case, math.inf)
    status = 0
    for backend in ("onnxruntime", "openvino"):
        case = case_of(backend)
        graphs = given.results / str(case.variant.graphs) / given.model
        found = compare(backends.load(case, folder, graphs), case, expected)
        assert found is not None
        divergences = ", ".join(f"{one:.2g}" for one in found["denoiser_divergence"])
        print(
            f"{given.model}, {given.size} px, {given.steps} steps, {backend}: denoiser "
            f"{divergences} of its largest output; image {found['psnr_db']:.1f} dB",
            flush=True,
        )
        try:
            check_agreement(found)
        except UserError as error:
            print(error)
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
