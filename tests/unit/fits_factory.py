"""Made-up models and their memory, for what is predicted from it."""

from typing import Any

from tests.unit import tables_factory as factory

Components = dict[str, dict[str, Any]]


def make_components(scale: int = 1) -> Components:
    """Return the components of a model with 10^9 weights by `scale`, six tenths in the denoiser."""

    side = 1024
    return {
        name: {
            "parameters": 10**6 * millions * scale,
            "largest": side**2,
            "pinned": 10**6 * millions * scale * 3 // 2,
            "matrices": [[side, side, 10**6 * millions // side**2 * scale * 8 // 10]],
            "denoiser": name == "painter",
        }
        for name, millions in {"reader": 300, "painter": 600, "decoder": 100}.items()
    }


def memory_rows(
    constant: float, image: float, sizes: tuple[int, ...] = (1, 2, 4, 8), **changes: Any
) -> list[dict[str, Any]]:
    """Return rows of a GPU whose peaks lie on a line, in bytes."""
    return [
        {
            **factory.SD_V1,
            "batch_size": size,
            "peak_reserved_bytes": constant + image * size,
            "reserved_after_run_bytes": constant,
            "nvml_process_bytes": constant + 5e8,
            **changes,
        }
        for size in sizes
    ]


def largest_row(found: int, predicted: int, **changes: Any) -> dict[str, Any]:
    """Return a row of LARGEST."""
    base = {name: factory.SD_V1[name] for name in ("model", "device", "backend", "precision")}
    return {**base, "options": "none", "largest_batch": found, "cap": 512,
            "predicted_batch": predicted, "probes": 2, "limit_bytes": 24e9, "reason": None,
            **changes}  # fmt: skip
