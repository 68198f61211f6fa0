"""The config's section `measuring`, typed: each kind of job has what its numbers depend on."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Self

PRODUCT, CONVOLUTION, COPY = "matrix product", "convolution", "memory copy"
"""What peaks are measured of."""
COMPUTING = (PRODUCT, CONVOLUTION)
"""Those in each precision, the better of which is a device's peak throughput."""
SETTLED, SETTLED_COMPILED = 2, 4
"""Evaluations of the denoiser after which the rest of a call is known: the first sets kernels up;
with CUDA graphs the first three compile, warm up and record."""
LONG_S, LONG_LAUNCHES = 30.0, 3
"""A case whose launch takes so long, or that is projected, has as few as an interval needs."""


@dataclass(frozen=True)
class Watching:
    """What to do where something else uses the device: of every job that measures."""

    contention: str
    max_busy_cores: float
    contention_wait_s: float

    @classmethod
    def of(cls, section: Mapping[str, Any]) -> Self:
        """Return what a kind of job has of the whole section."""
        return cls(**{field.name: section[field.name] for field in fields(cls)})


@dataclass(frozen=True)
class Racing(Watching):
    """How denoisers are raced."""

    warmup_calls: int
    launches: int
    case_time_limit_s: float

    def decisive(self) -> dict[str, Any]:
        """Return what of it decides a number: how long a case may take at most does not."""
        return {key: value for key, value in vars(self).items() if key != "case_time_limit_s"}


@dataclass(frozen=True)
class Measuring(Racing):
    """How a case is measured: the whole section."""

    min_samples: int
    min_duration_s: float
    max_duration_s: float
    min_samples_capped: int
    phase_samples: int
    precision: float
    project_above_s: float
    throughput_duration_s: float

    def share(self) -> Self:
        """Return what each launch has of it: all launches together take as long as one would."""

        def part(count: int) -> int:
            return math.ceil(count / self.launches)

        return replace(
            self,
            min_samples=part(self.min_samples),
            min_samples_capped=part(self.min_samples_capped),
            phase_samples=part(self.phase_samples),
            min_duration_s=self.min_duration_s / self.launches,
            max_duration_s=self.max_duration_s / self.launches,
            throughput_duration_s=self.throughput_duration_s / self.launches,
        )
