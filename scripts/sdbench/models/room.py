"""Which models have room on none of their devices, by their descriptions: numbers of parameters,
and peaks that were computed. What is not certain yet, the job itself finds out, from shapes and on
its device."""

import functools
import json
import math
from collections import defaultdict
from collections.abc import Container, Iterable, Mapping
from pathlib import Path
from typing import Any

from sdbench.cases.case import Device, Variant, measured_device
from sdbench.cases.kinds import KINDS
from sdbench.devices.machine import budget_bytes, machine_bytes
from sdbench.models.architectures import Architecture, find_architecture
from sdbench.models.computed import Peaks, certain_bytes, find_peaks, read_computed
from sdbench.models.weights import NF4_BLOCK, Components, device_bytes, host_bytes, nf4_scales_block


def without_room(
    config: Mapping[str, Any],
    variants: Iterable[Variant],
    peaks: Mapping[tuple[str, str, str], Peaks],
    raced: Container[Variant],
    architectures: Path,
    manifests: Path,
    elsewhere: bool,
) -> set[str]:
    """Return the models of which no variant can fit where it is asked for.

    One that was made already is none of them: on a smaller machine too, its results stay. Of a
    model without a description in the folder `architectures` nothing is known before it is at hand.
    `peaks`, by `Variant.place`, are those of a whole call, which what is `raced` need not have.
    `manifests` is where those of the model stage lie, <model>.json; `elsewhere` says whether
    devices are on other machines than this one.
    """
    asked = defaultdict(list)
    for variant in variants:
        asked[variant.model].append(variant)

    @functools.cache
    def room(device: str) -> int | None:
        return device_room_bytes(measured_device(config["devices"][device]), elsewhere)

    found = set()
    for model, ways in asked.items():
        architecture = find_architecture(config["models"][model]["source"], architectures)
        if architecture is not None and not was_made(manifests / f"{model}.json"):
            least = least_components(architecture)
            if not any(
                _may_fit(
                    least,
                    way,
                    {} if way in raced else peaks.get(way.place, {}),
                    room(way.device),
                    elsewhere,
                )
                for way in ways
            ):
                found.add(model)
    return found


def computed_peaks(
    config: Mapping[str, Any], variants: Iterable[Variant], architectures: Path, computed: Path
) -> dict[tuple[str, str, str], Peaks]:
    """Return the peaks of described models that PyTorch runs on CUDA GPUs, by `Variant.place`, as
    they are in the file `computed`."""

    @functools.cache
    def peaks(model: str) -> Peaks:
        entry = config["models"][model]
        architecture = find_architecture(entry["source"], architectures)
        if architecture is None:
            return {}
        rows = read_computed(computed, [architecture.path])
        return find_peaks(rows, architecture, entry["generation"])

    cuda = {name for name, device in config["devices"].items() if device["kind"] == "cuda"}
    places = {v.place for v in variants if v.device in cuda and v.backend == "pytorch"}
    return {place: peaks(place[0]) for place in places}


def was_made(manifest: Path) -> bool:
    """Tell whether a model was described with its files."""
    try:
        return bool(json.loads(manifest.read_text(encoding="utf-8"))["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return False  # what is wrong with it, its readers say


def least_components(architecture: Architecture) -> Components:
    """Return the components of a model as they take the fewest bytes, for `models.weights`.

    How its numbers are cut into tensors is not known here: a network is one row, which has the
    fewest scales when it is quantized, and no tensor has a size.
    """
    full = NF4_BLOCK * nf4_scales_block(0)
    return {
        name: {
            "parameters": network.parameters,
            "denoiser": name == architecture.family.denoiser,
            # Of full blocks, as many as NF4 scales together: it leaves others as they are.
            "matrices": [[1, math.ceil(network.parameters / full) * full, 1]],
            "largest": 0,
            "pinned": network.parameters,
        }
        for name, network in architecture.networks.items()
    }


def _may_fit(
    components: Components, variant: Variant, peaks: Peaks, room: int | None, elsewhere: bool
) -> bool:
    """Tell whether nothing known yet forbids that a variant fits."""
    how = components, variant.precision, variant.switches
    if room is not None and max(device_bytes(*how), certain_bytes(peaks, variant)) > room:
        return False
    return elsewhere or host_bytes(*how) <= machine_bytes()


def device_room_bytes(device: Device, elsewhere: bool) -> int | None:
    """Return the bytes that weights have on a device, at most; None where that is not known yet.

    Of a GPU those of the largest one of its kind: what PyTorch counts first need not be the first
    that the driver lists.
    """
    kind = KINDS[device.kind]
    if not kind.is_gpu:
        return budget_bytes(device) if device.memory_budget_gb or not elsewhere else None
    return None if elsewhere else max(kind.gpu_bytes() or [], default=None)
