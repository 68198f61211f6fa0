"""Turn a configuration into the cases to measure, and say why a cell of the matrix is absent.

Pure: no file is read, no device touched, nothing heavy imported. The Snakefile, the scripts and the
tests share it.
"""

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from sdbench.capabilities import BACKENDS, INT8_GRAPHS
from sdbench.kinds import KINDS
from sdbench.runtime.digests import digest

AUTOCAST = "autocast"
ATTENTION = {"attention-vanilla": "vanilla", "attention-sliced": "sliced"}
"""Switches that choose an attention implementation, and what tables call it."""
FUSED_QKV = "fused-qkv"
VAE_TILING = "vae-tiling"
INT8 = "int8-weights"
QUANTIZED = {INT8: "int8", "fp8-weights": "fp8", "nf4-weights": "nf4"}
"""Switches that keep the weights of linear layers in eight or four bits, and their format."""
MODEL_OFFLOAD, GROUP_OFFLOAD = "model-offload", "group-offload"
OFFLOADS = (MODEL_OFFLOAD, GROUP_OFFLOAD)
"""Switches that keep weights in the machine's memory until the GPU computes with them."""
COMPILE = "compile"
TENSORRT = "tensorrt"
"""Switch of ONNX Runtime: its TensorRT provider in place of its CUDA one."""
TUNED = "tuned"
"""Switch of an engine: the settings of its own that a search found best (`sdbench.settings`)."""
SWITCHES = (
    AUTOCAST,
    *ATTENTION,
    FUSED_QKV,
    "vae-slicing",
    VAE_TILING,
    "channels-last",
    *QUANTIZED,
    *OFFLOADS,
    COMPILE,
    TENSORRT,
    TUNED,
)
"""Every switch, in the order in which a set of them is written."""
EXCLUSIVE = (
    ((*ATTENTION, FUSED_QKV), "each has an attention of its own, which in fused-qkv is SDPA"),
    (tuple(QUANTIZED), "a weight has one format"),
    (
        (*OFFLOADS, COMPILE),
        "weights that are moved have no fixed place, which CUDA graphs and a second mover need",
    ),
    (("nf4-weights", GROUP_OFFLOAD), "diffusers does not move torchao's NF4 layer by layer"),
    ((INT8, TENSORRT), "the graphs with int8 weights hold operators of ONNX Runtime's own"),
    ((TUNED, TENSORRT), "no settings of TensorRT are searched"),
)
"""Switches of which one at most can be in force, and why."""
ON_CUDA = {
    "fp8-weights": "fp8 is a format of CUDA GPUs of compute capability 8.9 and up",
    TENSORRT: "TensorRT runs on CUDA GPUs alone",
}
"""Switches that exist on no other kind of device, and why."""
ON_CPU = {
    INT8: "what is quantized are operators that its CPU engine has",
    TUNED: "the settings that are searched are those of its CPU engine",
}
"""Switches that, of a backend that reads exported networks, exist on no other kind of device."""
NONE = "none"


def parse_options(text: str) -> tuple[str, ...]:
    """Return the switches of `"autocast+vae-slicing"`; `"none"` has none.

    Raises:
        ValueError: if a switch is unknown or repeated.
    """
    switches = () if text == NONE else tuple(text.split("+"))
    for switch in switches:
        if switch not in SWITCHES:
            raise ValueError(f"unknown option {switch!r}")
    if len(set(switches)) != len(switches):
        raise ValueError(f"option repeated in {text!r}")
    return tuple(sorted(switches, key=SWITCHES.index))


def format_options(switches: Iterable[str]) -> str:
    """Return the one spelling of a set of switches: the reverse of `parse_options`."""
    return "+".join(sorted(switches, key=SWITCHES.index)) or NONE


@dataclass(frozen=True, order=True)
class Variant:
    """A way to run a model: what a pipeline is loaded for, before prompt and batch size."""

    model: str
    device: str
    backend: str
    precision: str
    options: str

    @property
    def switches(self) -> tuple[str, ...]:
        """The options, one by one."""
        return parse_options(self.options)

    @property
    def attention(self) -> str:
        """Attention implementation: `sdpa`, `vanilla`, `sliced`, or `fused` in an exported one."""
        if self.graphs is not None:
            return "fused"
        return next((ATTENTION[s] for s in self.switches if s in ATTENTION), "sdpa")

    @property
    def graphs(self) -> str | None:
        """The folder of the results with the exported networks that it reads; None without."""
        graphs = BACKENDS[self.backend].graphs
        return graphs and graphs + (INT8_GRAPHS if INT8 in self.switches else "")

    @property
    def place(self) -> tuple[str, str, str]:
        """Model, device and backend: what a job measures together."""
        return self.model, self.device, self.backend

    @property
    def without_options(self) -> "Variant":
        """The same way to run the model with no switch in force."""
        return replace(self, options=NONE)

    def as_dict(self) -> dict[str, str]:
        """Return the variant as built-in types, some ten times as fast as `dataclasses.asdict`."""
        return dict(vars(self))

    @property
    def key(self) -> str:
        """The variant as a relative path below its model, device and backend."""
        return f"{self.precision}/{self.options}"


@dataclass(frozen=True)
class Case:
    """One cell of the matrix: a variant, a batch size and every setting that moves time or pixels.

    `generation` and `device` are entries of the complete config, without `NOT_MEASURED`;
    `generation` holds prompt, steps, scheduler, guidance, height and width in pixels, and seed.
    """

    variant: Variant
    batch_size: int
    generation: Mapping[str, Any]
    device: Mapping[str, Any]

    @property
    def id(self) -> str:
        """Sixteen hexadecimal digits that any change of the case changes."""
        return digest(self.as_dict())[:16]

    def as_dict(self) -> dict[str, Any]:
        """Return the case as built-in types, as records hold it and Snakemake's params pass it."""
        return {
            "variant": self.variant.as_dict(),
            "batch_size": self.batch_size,
            "generation": dict(self.generation),
            "device": dict(self.device),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Case":
        """Return the case that `as_dict` wrote."""
        return cls(
            Variant(**data["variant"]), data["batch_size"], data["generation"], data["device"]
        )


@dataclass(frozen=True)
class Pair:
    """Two variants whose denoisers take turns: a challenger and the reference.

    `case` is the challenger's, and but for the variant the reference's; its height and width are
    those of the race. `rounds` is how often each is timed.
    """

    case: Case
    reference: Variant
    rounds: int

    @property
    def reference_case(self) -> Case:
        """The case of the reference."""
        return replace(self.case, variant=self.reference)

    def as_dict(self) -> dict[str, Any]:
        """Return the pair as built-in types, as Snakemake's params pass it."""
        return {
            "case": self.case.as_dict(),
            "reference": self.reference.as_dict(),
            "rounds": self.rounds,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Pair":
        """Return the pair that `as_dict` wrote."""
        return cls(Case.from_dict(data["case"]), Variant(**data["reference"]), data["rounds"])


@dataclass(frozen=True)
class Absent:
    """A cell of the matrix that cannot be a case, and the reason."""

    variant: Variant
    batch_size: int
    reason: str


def why_absent(variant: Variant, kind: str) -> str | None:
    """Say why no case can exist for `variant` on a device of this kind; None if one can.

    Only what is known before a device is touched stands here. What a machine or an installed
    library lacks is found when the variant is loaded, and is a row with status `unsupported`.
    """
    for group, reason in EXCLUSIVE:
        chosen = [s for s in variant.switches if s in group]
        if len(chosen) > 1:
            return f"{' and '.join(chosen)} exclude each other: {reason}"
    backend = BACKENDS[variant.backend]
    if kind not in backend.kinds:
        return f"{variant.backend} does not run on kind {kind}: {backend.no_kind}"
    if variant.precision == "tf32" and KINDS[kind].no_tf32:
        return KINDS[kind].no_tf32
    if variant.precision not in backend.precisions:
        return f"{variant.backend} has no {variant.precision}: {backend.no_precision}"
    if AUTOCAST in variant.switches and variant.precision == "tf32":
        return "autocast runs matrix products in half precision, which leaves TF32 nothing to do"
    reasons = (_why_not(switch, variant.backend, kind) for switch in variant.switches)
    return next(filter(None, reasons), None)


def _why_not(switch: str, name: str, kind: str) -> str | None:
    """Say why a backend has no such switch on a device of this kind; None if it has."""
    backend = BACKENDS[name]
    if switch not in backend.switches:
        if switch == TUNED:
            return f"no settings of {name} are searched: those it has are options of their own"
        others = [other for other, has in BACKENDS.items() if switch in has.switches]
        return f"{switch} is a switch of {' and '.join(others)}, not of {name}"
    if switch in ON_CUDA and kind != "cuda":
        return ON_CUDA[switch]
    if switch in OFFLOADS and KINDS[kind].no_offload:
        return f"{switch} keeps weights in another memory, and {KINDS[kind].no_offload}"
    if backend.graphs and switch in ON_CPU and kind != "cpu":
        return f"{switch} of {name} is for CPUs here: {ON_CPU[switch]}"
    return None


NOT_MEASURED = ("price_per_hour", "constraint", "cpus", "exclusive")
"""Keys of a device that move no measurement: its price, and where a cluster finds it."""


def measured_device(device: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a device's entry that can move a measurement."""
    return {key: value for key, value in device.items() if key not in NOT_MEASURED}


def thread_families(devices: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Return for each device of the config the first that differs from it in threads alone."""
    same = {name: measured_device(entry) | {"threads": None} for name, entry in devices.items()}
    return {name: next(n for n, entry in same.items() if entry == same[name]) for name in devices}


def product(block: Mapping[str, Any]) -> Iterator[Variant]:
    """Yield the variants of a `matrix` or `quality` entry, in the order of its lists."""
    for device, backend, precision, options in itertools.product(
        block["devices"], block["backends"], block["precisions"], block["options"]
    ):
        yield Variant(
            block["model"], device, backend, precision, format_options(parse_options(options))
        )


MOST_CELLS, MOST_JOBS = 30_000, 750
"""What Snakemake plans within five seconds: cells of a matrix, and jobs that measure or draw."""


def count_cells(config: Mapping[str, Any]) -> int:
    """Return how many cells the entries of the matrix have together, none of them written out."""
    return sum(_count(block) * len(block["batch_sizes"]) for block in config["matrix"])


def count_jobs(config: Mapping[str, Any]) -> int:
    """Return how many jobs measure, draw or compare pictures, at most: it knows of nothing absent.

    Each model, device and backend is measured by one; each compared variant is drawn by one, and
    compared by another.
    """
    sweeps = {
        sweep
        for block in config["matrix"]
        for sweep in itertools.product([block["model"]], block["devices"], block["backends"])
    }
    return len(sweeps) + 2 * sum(1 + _count(entry) for entry in config["quality"])


def _count(block: Mapping[str, Any]) -> int:
    """Return how many variants `product` yields."""
    return math.prod(len(block[key]) for key in ("devices", "backends", "precisions", "options"))


def expand_matrix(config: Mapping[str, Any]) -> tuple[list[Case], list[Absent]]:
    """Turn a complete configuration into its cases and its absent cells.

    Args:
        config: what `check_config` returned.

    Returns:
        The cases and the absent cells, each once, in the order of the config; batch sizes rise
        within a variant.
    """
    batches: dict[Variant, set[int]] = {}
    for block in config["matrix"]:
        for variant in product(block):
            batches.setdefault(variant, set()).update(block["batch_sizes"])
    cases, absent = [], []
    for variant, sizes in batches.items():
        device = measured_device(config["devices"][variant.device])
        generation = config["models"][variant.model]["generation"]
        reason = why_absent(variant, device["kind"])
        for size in sorted(sizes):
            if reason is None:
                cases.append(Case(variant, size, generation, device))
            else:
                absent.append(Absent(variant, size, reason))
    return cases, absent


def expand_searches(config: Mapping[str, Any]) -> dict[Variant, int]:
    """Return the variants whose largest batch is searched for, each with the cap of its search."""
    caps: dict[Variant, int] = {}
    for block in config["matrix"]:
        for variant in product(block):
            cap = max(block["largest_batch"], caps.get(variant, 0))
            if cap and why_absent(variant, config["devices"][variant.device]["kind"]) is None:
                caps[variant] = cap
    return caps


def matrix_rows(cases: Iterable[Case], absent: Iterable[Absent]) -> list[dict[str, Any]]:
    """Return the rows of the table `cases`: first those that exist, then those that cannot."""
    return [
        case.variant.as_dict() | {"batch_size": case.batch_size, "case_id": case.id}
        for case in cases
    ] + [
        cell.variant.as_dict() | {"batch_size": cell.batch_size, "absent_because": cell.reason}
        for cell in absent
    ]


def quality_reference(block: Mapping[str, Any]) -> Variant:
    """Return the reference of a `quality` entry."""
    given = block["reference"]
    options = format_options(parse_options(given["options"]))
    return Variant(block["model"], given["device"], given["backend"], given["precision"], options)


def expand_quality(config: Mapping[str, Any]) -> list[tuple[Variant, list[Variant]]]:
    """Return for each `quality` entry its reference and the variants to compare with it.

    A variant that cannot exist is left out (`why_absent` has said why in the matrix's table), and
    so is the reference itself.
    """
    pairs = []
    for block in config["quality"]:
        reference = quality_reference(block)
        others = [
            variant
            for variant in dict.fromkeys(product(block))
            if variant != reference
            and why_absent(variant, config["devices"][variant.device]["kind"]) is None
        ]
        pairs.append((reference, others))
    return pairs


def expand_races(config: Mapping[str, Any]) -> list[Pair]:
    """Return the pairs of the `races` of a complete configuration, in its order."""
    return [
        Pair(
            Case(
                race_variant(race, given),
                race["batch_size"],
                config["models"][race["model"]]["generation"] | {"height": size, "width": size},
                measured_device(config["devices"][race["device"]]),
            ),
            race_variant(race, race["reference"]),
            race["rounds"],
        )
        for race in config["races"]
        for size in race["sizes"]
        for given in race["variants"]
    ]


def race_variant(race: Mapping[str, Any], given: Mapping[str, str]) -> Variant:
    """Return the variant that `given`, the reference of a `races` entry or one of its variants, is
    of that entry's model and device."""
    options = format_options(parse_options(given["options"]))
    return Variant(race["model"], race["device"], given["backend"], given["precision"], options)
