"""How long the jobs of a run will take, for the first lines of it and the time that is left.

Reckoned before anything has run, from the sizes of networks and the datasheets of devices: within a
factor of two or three. No result depends on it.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from sdbench.cases.case import Case, Device, Pair, Variant
from sdbench.cases.kinds import KINDS
from sdbench.cases.measuring import LONG_LAUNCHES, LONG_S, SETTLED, Measuring
from sdbench.cases.options import COMPILE
from sdbench.devices.datasheets import find_datasheet, read_datasheets
from sdbench.devices.limits import usable_cores
from sdbench.devices.machine import HALF_PRODUCTS, cpu_features, is_emulated
from sdbench.models.architectures import Architecture, find_architecture
from sdbench.models.planning import Place, Plan
from sdbench.runtime.progress import about

CONVOLVED = 0.1
"""A parameter of a U-Net meets this share of the pixels of the latents: Stable Diffusion 1.x 0.11,
SDXL 0.07, by operations counted."""
PATCH = 4
"""Pixels of the latents that a transformer sees as one token."""
DECODED = 9.5e6
"""Operations of Stable Diffusion's decoder for a pixel of the image; others have the same."""
CPU_FLOP = {"avx512f": 0.11e12, "": 0.05e12}
"""Operations in a second by a thread of a processor that has the instructions, in fp32."""
HALF_FLOP = {"avx512_bf16": 1.7, "amx_bf16": 4.0}
"""How many times that in bf16."""
HALF_SHARE, FP32_SHARE = 0.25, 0.5
"""Of the peak of a datasheet, in half precision and in fp32: medians of published rows of Stable
Diffusion 1.x."""
OTHER_GPU = 20e12
"""Operations in a second by a GPU whose datasheet is not known, as those of ten years have them."""
EVALUATION_S = 0.015
"""Seconds of the smallest evaluation: what Python and kernels cost that compute hardly anything."""
LOADED, DOWNLOADED = 0.8e9, 25e6
"""Bytes of weights in a second, from a disk and from the hub."""
START_S = 6.0
"""Seconds until a job that measures has imported its backend."""
RULE_S = {
    "measure_peak_throughput": 12.0,
    "count_operations": 5.0,
    "describe_model": 4.0,
    "compare_quality": 4.0,
    "plot_quality_panel": 5.0,
    "plot_quality_animation": 5.0,
    "write_page": 6.0,
}
"""Seconds of a job of other rules, on two cores."""
OTHER_RULE_S = 3.0


@dataclass(frozen=True)
class Reckoning:
    """What is reckoned with: the plan of a run, its complete config, and the workflow's folder."""

    plan: Plan
    config: Mapping[str, Any]
    workflow: Path

    def jobs_s(self, jobs: Iterable[Any]) -> dict[int, tuple[str, dict[str, float]]]:
        """Return of each job of Snakemake's, by its number, what the terminal calls its kind, and
        the seconds that `job_s` gives."""
        found = {}
        for job in jobs:
            name, wildcards = job.rule.name, job.wildcards_dict
            found[job.jobid] = job_label(name, wildcards), self.job_s(name, wildcards)
        return found

    def job_s(self, rule: str, wildcards: Mapping[str, str]) -> dict[str, float]:
        """Return the seconds that a job takes: by what it says when one of several things is done,
        and under the empty name for the rest."""
        place: Place = (
            wildcards.get("model", ""),
            wildcards.get("device", ""),
            wildcards.get("backend", ""),
        )
        model = place[0]
        if rule == "measure_sweep":
            cases = {case.title: self.case_s(case) for case in self.plan.cases_at[place]}
            probes = 4 * self._start_s(model) * len(self.plan.searches_at[place])
            return {**cases, "": START_S + probes}
        if rule == "race_denoisers":
            races = {race.title: self.race_s(race) for race in self.plan.races_at[place]}
            return {**races, "": START_S}
        if rule == "generate_images":
            return {"": START_S + self._start_s(model) + self._images_s(Variant(**wildcards))}
        if model in self.plan.too_large:
            return {"": OTHER_RULE_S}
        if rule in ("build_model", "fetch_model", "export_onnx", "convert_openvino"):
            rate = DOWNLOADED if rule == "fetch_model" else LOADED / 3
            return {"": START_S + self._bytes(model) / rate}
        return {"": RULE_S.get(rule, OTHER_RULE_S)}

    def case_s(self, case: Case) -> float:
        """Return the seconds that measuring a case takes, its passes together."""
        measuring = Measuring(**self.config["measuring"])
        precision = case.variant.precision
        if case.variant.model in self.plan.too_large:
            return 0.0
        if case.device.kind == "cpu" and precision in HALF_PRODUCTS and is_emulated(precision):
            return 0.0  # unsupported
        call, short = self.call_s(case), self.call_s(case, SETTLED)
        start = self._start_s(case.variant.model) if case.batch_size == 1 else 0.0
        compiles = COMPILE in case.variant.switches
        each = measuring if compiles else measuring.share()
        is_projected = measuring.project_above_s and call > measuring.project_above_s
        if is_projected:
            first, launch = short, start + _samples(short, each) * short
        else:
            back_to_back = math.ceil(each.throughput_duration_s / call)
            calls = measuring.warmup_calls + _samples(call, each) + back_to_back
            first, launch = 2 * call, start + (calls + each.phase_samples) * call
        launches = 1 if compiles else measuring.launches
        if is_projected or launch > LONG_S:
            launches = min(launches, LONG_LAUNCHES)
        return first + launch * launches

    def race_s(self, race: Pair) -> float:
        """Return the seconds that a race takes."""
        evaluation = self.call_s(race.case, 1)
        launches: int = self.config["measuring"]["launches"]
        starts = 2 * launches * (self._start_s(race.case.variant.model) + evaluation)
        return starts + 2 * max(race.rounds, launches) * (0.25 + evaluation)

    def call_s(self, case: Case, steps: int | None = None) -> float:
        """Return the seconds of a call, of as many steps as the case has unless they are given."""
        generation = case.generation
        evaluations = steps or generation["steps"]
        architecture = self._architectures.get(case.variant.model)
        if architecture is None:  # such as the small model that is bundled
            return float(evaluations) * EVALUATION_S * case.batch_size
        step, rest = operations(architecture, generation)
        rate = self._rate(case)
        one = max(EVALUATION_S, case.batch_size * step / rate)
        return evaluations * one + case.batch_size * rest / rate

    def _images_s(self, variant: Variant) -> float:
        case, asked = self.plan.config.case(variant), self.plan.images[variant]
        runs = [*asked["runs"], *(steps for _, steps in asked["spread"])]
        decoded = max(runs, default=0)  # the states of the longest
        series = sum(self.call_s(case, steps) for steps in runs) + decoded * self.call_s(case, 1)
        return series + len(asked["wanted"]) * self.call_s(case)

    def _rate(self, case: Case) -> float:
        """Return the operations that a device does in a second."""
        device, precision = case.device, case.variant.precision
        half = precision in ("fp16", "bf16") or "autocast" in case.variant.switches
        if not KINDS[device.kind].is_gpu:
            features = cpu_features()
            flop = next(rate for name, rate in CPU_FLOP.items() if name in features or not name)
            faster = max((HALF_FLOP[name] for name in HALF_FLOP if name in features), default=1.0)
            return flop * (device.threads or usable_cores()) * (faster if half else 1.0)
        sheet = find_datasheet(self._gpu(device), self._datasheets)
        peak = sheet and (sheet.half_tflops if half else sheet.fp32_tflops)
        share = HALF_SHARE if half else FP32_SHARE
        return share * peak * 1e12 if peak else OTHER_GPU * (1.0 if half else 0.5)

    @staticmethod
    def _gpu(device: Device) -> str:
        gpus = [] if device.gpu_model else KINDS[device.kind].gpus() or []
        return gpus[device.index] if device.index < len(gpus) else device.gpu_model

    def _start_s(self, model: str) -> float:
        return 2.0 + self._bytes(model) / LOADED

    def _bytes(self, model: str) -> float:
        architecture = self._architectures.get(model)
        if architecture is None:
            return 0.0
        return 4.0 * sum(network.parameters for network in architecture.networks.values())

    @cached_property
    def _architectures(self) -> dict[str, Architecture | None]:
        folder = self.workflow / "resources/architectures"
        models = self.config["models"].items()
        return {name: find_architecture(model["source"], folder) for name, model in models}

    @cached_property
    def _datasheets(self) -> list[Any]:
        return read_datasheets(self.workflow / "resources/datasheets/gpus.csv")


def operations(architecture: Architecture, generation: Mapping[str, Any]) -> tuple[float, float]:
    """Return the operations, roughly, of one step for one image, and of all else."""
    family = architecture.family
    configs = {name: network.config for name, network in architecture.networks.items()}
    height, width = generation["height"], generation["width"]
    _, *latent = family.latent_shape(configs, height, width)
    is_unet = family.denoiser == "unet"
    met = math.prod(latent) * CONVOLVED if is_unet else math.prod(latent) / PATCH
    passes = family.passes(configs, generation["guidance"])
    denoiser = 2.0 * architecture.networks[family.denoiser].parameters * met * passes
    tokens = {name: family.text_length(name, configs) for name in family.text_encoders}
    text = sum(2.0 * architecture.networks[name].parameters * n for name, n in tokens.items())
    return denoiser, passes * text + DECODED * height * width


def _samples(call_s: float, measuring: Measuring) -> int:
    wanted = max(measuring.min_samples, math.ceil(measuring.min_duration_s / call_s))
    if wanted * call_s <= measuring.max_duration_s:
        return wanted
    capped = min(measuring.min_samples, measuring.min_samples_capped)
    return max(capped, min(wanted, math.ceil(measuring.max_duration_s / call_s)))


def job_label(rule: str, wildcards: Mapping[str, str]) -> str:
    """Return what the terminal calls the jobs of a kind, such as those of one model and device."""
    if "backend" in wildcards and "device" in wildcards:
        return "{model} on {device} with {backend}".format(**wildcards)
    return rule.replace("_", " ")


def summary(jobs: Iterable[tuple[str, Mapping[str, float]]]) -> str:
    """Say how long jobs take together, and what kinds of them take most, of those that `jobs_s`
    returned."""
    kinds: dict[str, float] = defaultdict(float)
    for kind, parts in jobs:
        kinds[kind] += sum(parts.values())
    total = sum(kinds.values())
    most = sorted(kinds.items(), key=lambda kind: -kind[1])[:2]
    named = ", ".join(f"{name} {about(seconds)}" for name, seconds in most if seconds > total / 10)
    return f"{about(total)}, reckoned from datasheets" + (f": {named}" if named else "")
