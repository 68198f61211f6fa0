"""A case: one cell of the matrix, and why a cell cannot be one. A pair: two ways that are raced.

Pure: no file is read, no device touched, nothing heavy imported.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from sdbench.cases.capabilities import BACKENDS
from sdbench.cases.kinds import KINDS
from sdbench.cases.options import (
    ATTENTION,
    EXCLUDING,
    INT8,
    INT8_GRAPHS,
    NONE,
    OPTIONS,
    parse_options,
)
from sdbench.runtime.digests import digest


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
        chosen = next((ATTENTION[s] for s in self.switches if s in ATTENTION), "sdpa")
        return "fused" if self.graphs else chosen

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
class Device:
    """What of a device of the config can move a measurement; the schema says what each means."""

    kind: str
    index: int = 0
    threads: int = 0
    memory_budget_gb: float = 0
    gpu_model: str = ""


NOT_MEASURED = ("price_per_hour", "constraint", "cpus", "exclusive")
"""Keys of a device that move no measurement: its price, and where a cluster finds it."""


def measured_device(entry: Mapping[str, Any]) -> Device:
    """Return the part of a device's entry in the config that can move a measurement."""
    return Device(**{key: value for key, value in entry.items() if key not in NOT_MEASURED})


def why_absent(variant: Variant, kind: str) -> str | None:
    """Say why no case can exist for `variant` on a device of this kind; None if one can.

    Only what is known before a device is touched stands here. What a machine or an installed
    library lacks is found when the variant is loaded, and is a row with status `unsupported`.
    """
    for group, reason in EXCLUDING.items():
        chosen = [switch for switch in variant.switches if switch in group]
        if len(chosen) > 1:
            return f"{' and '.join(chosen)} exclude each other: {reason}"
    backend = BACKENDS[variant.backend]
    if kind not in backend.kinds:
        return f"{variant.backend} does not run on kind {kind}: {backend.no_kind}"
    if variant.precision == "tf32" and KINDS[kind].no_tf32:
        return KINDS[kind].no_tf32
    if variant.precision not in backend.precisions:
        return f"{variant.backend} has no {variant.precision}: {backend.no_precision}"
    options = (OPTIONS[switch] for switch in variant.switches)
    reasons = (option.why_not(variant.backend, variant.precision, kind) for option in options)
    return next(filter(None, reasons), None)


@dataclass(frozen=True)
class Case:
    """One cell of the matrix: a variant, a batch size and every setting that moves time or pixels.

    `generation` is that of the model in the complete config: prompt, steps, scheduler, guidance,
    height and width in pixels, and seed.
    """

    variant: Variant
    batch_size: int
    generation: Mapping[str, Any]
    device: Device

    @property
    def title(self) -> str:
        """What a log and the terminal call it."""
        v = self.variant
        how = f"{v.model} on {v.device}, {v.backend} {v.precision} {v.options}"
        return f"{how}, batch {self.batch_size}"

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
            "device": dict(vars(self.device)),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Case":
        """Return the case that `as_dict` wrote."""
        variant, device = Variant(**data["variant"]), Device(**data["device"])
        return cls(variant, data["batch_size"], data["generation"], device)


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

    @property
    def title(self) -> str:
        """What a log and the terminal call it."""
        v = self.case.variant
        where = f"{v.model} on {v.device} at {self.case.generation['width']} px"
        return f"{where}, {v.backend} {v.precision} {v.options}"

    def as_dict(self) -> dict[str, Any]:
        """Return the pair as built-in types, as Snakemake's params pass it."""
        sides = {"case": self.case.as_dict(), "reference": self.reference.as_dict()}
        return {**sides, "rounds": self.rounds}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Pair":
        """Return the pair that `as_dict` wrote."""
        return cls(Case.from_dict(data["case"]), Variant(**data["reference"]), data["rounds"])
