"""Search for the best settings of an engine, by measuring each against the default ones.

The settings that are tried stand in the backend's module (`CANDIDATES`), one change each. What is
timed is the denoiser, for one image: it is where the time of an image goes.
"""

import itertools
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sdbench import backends
from sdbench.backends.exported import open_denoiser
from sdbench.cases.case import Case
from sdbench.models.configs import plain_configs
from sdbench.models.examples import denoiser_shapes, random_inputs
from sdbench.models.families import family_of
from sdbench.runtime.errors import UnsupportedError, one_line
from sdbench.runtime.processes import Ended, run_in_subprocess
from sdbench.runtime.progress import say

import torch

DEFAULT = "default"
ROUNDS = 15
FEWEST_ROUNDS = 6  # the least that has a 95 % interval
LONGEST_S = 120.0  # no further round is begun after this, except for the fewest
BLOCK_S = 0.05  # a sample is the mean of as many calls as fill this


def search_settings(
    case: Case, model_folder: Path, graphs_folder: Path, limit_s: float | None = None
) -> dict[str, Any]:
    """Return the best settings of a backend for a variant, and all that was timed.

    Each candidate and the default settings are loaded side by side, in a process of their own, and
    take turns. A candidate is better if the whole 95 % interval of the median ratio lies below 1.
    The best of these is timed once more, for the luckiest of several looks better than it is, and
    is chosen if it is better again; else the next best. If none is, the default ones stay.

    Returns:
        `chosen`, the name of a candidate or `DEFAULT`; its `settings`; lists of `candidates` and of
        those `confirmed`, each with `name`, `settings`, and what `compare` returns, or a `reason`
        why there is nothing. Where the variant cannot run at all, `reason` says why.
    """
    result: dict[str, Any] = {"chosen": DEFAULT, "settings": {}, "candidates": [], "confirmed": []}

    def duel(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
        try:
            (timed,) = run_in_subprocess(
                _duel, case, model_folder, graphs_folder, settings, limit_s=limit_s
            )
        except Ended as error:
            timed = {"reason": error.reason("it was timed")}
        timed = compare(**timed) if "default_s" in timed else timed
        say(f"{name}: {timed.get('ratio', timed.get('reason'))}")
        return {"name": name, "settings": dict(settings), **timed}

    try:
        candidates = backends.import_backend(case).CANDIDATES
    except UnsupportedError as error:
        return result | {"reason": str(error)}
    result["candidates"] = [duel(name, settings) for name, settings in candidates.items()]
    better = [entry for entry in result["candidates"] if is_better(entry)]
    for entry in sorted(better, key=lambda entry: float(entry["ratio"])):
        again = duel(entry["name"], entry["settings"])
        result["confirmed"].append(again)
        if is_better(again):
            return result | {"chosen": entry["name"], "settings": entry["settings"]}
    return result


def is_better(entry: Mapping[str, Any]) -> bool:
    """Tell whether a candidate was faster than the default settings beyond the noise."""
    return "high" in entry and entry["high"] < 1


def compare(default_s: Sequence[float], candidate_s: Sequence[float]) -> dict[str, Any]:
    """Compare seconds that were taken in turns, round by round; `FEWEST_ROUNDS` at the least.

    Returns:
        Both, and of the ratios of candidate to default in each round the median `ratio` and its
        95 % interval, `low` to `high`: order statistics, which hold the median whatever the
        distribution (sign test, e.g. Conover 1999, 3.2). Engines' environments have no SciPy.
    """
    ratios = sorted(c / d for c, d in zip(candidate_s, default_s, strict=True))
    count = len(ratios)
    # The largest rank whose order statistic lies above the median in at most 2.5 % of the cases.
    tails = itertools.accumulate(math.comb(count, rank) / 2**count for rank in range(count))
    rank = sum(tail <= 0.025 for tail in tails) - 1
    if rank < 0:
        raise ValueError(f"too few rounds for an interval: {count}")
    return {
        "default_s": list(default_s),
        "candidate_s": list(candidate_s),
        "ratio": statistics.median(ratios),
        "low": ratios[rank],
        "high": ratios[count - 1 - rank],
    }


def _duel(
    send: Callable[[Any], None],
    case: Case,
    model_folder: Path,
    graphs_folder: Path,
    settings: Mapping[str, Any],
) -> None:
    """Time the denoiser with the default and other settings in turns; send the seconds of both, or
    the reason why one of them cannot run."""
    module = backends.import_backend(case)
    try:
        calls = []
        for chosen in ({}, settings):
            denoiser = open_denoiser(module.set_up(case, graphs_folder, chosen), model_folder)
            calls.append(_evaluation(denoiser, case, model_folder))
        with torch.inference_mode():
            default_s, candidate_s = _take_turns(*calls)
        send({"default_s": default_s, "candidate_s": candidate_s})
    except UnsupportedError as error:
        send({"reason": str(error)})
    except Exception as error:  # an engine may refuse a setting in any way; the others go on
        send({"reason": f"{type(error).__name__}: {one_line(error)}"})


def _evaluation(denoiser: Any, case: Case, model_folder: Path) -> Callable[[], object]:
    """Return an evaluation of the denoiser with the sizes that it has in a call of the pipeline."""
    family, generation = family_of(model_folder), case.generation
    configs = plain_configs(family, model_folder)
    prompts = case.batch_size * family.passes(configs, generation["guidance"])
    size = generation["height"], generation["width"]
    inputs = random_inputs(family, denoiser_shapes(family, configs, *size, prompts))
    return lambda: denoiser(**inputs)


def _take_turns(*calls: Callable[[], object]) -> list[list[float]]:
    """Return of each call its seconds in each round; one before these is not counted."""
    for call in calls:
        call()
    rounds: list[dict[int, float]] = []
    begin = time.perf_counter()
    while len(rounds) < ROUNDS:
        if len(rounds) >= FEWEST_ROUNDS and time.perf_counter() - begin > LONGEST_S:
            break
        # Whoever begins a round finds the caches of another.
        order = range(len(calls))[:: -1 if len(rounds) % 2 else 1]
        rounds.append({i: _time_block(calls[i]) for i in order})
    return [[taken[i] for taken in rounds] for i in range(len(calls))]


def _time_block(call: Callable[[], object]) -> float:
    """Return the mean seconds of a call over `BLOCK_S`."""
    call()  # threads of the other engine may still be spinning
    begin, count = time.perf_counter(), 0
    while time.perf_counter() - begin < BLOCK_S or not count:
        call()
        count += 1
    return (time.perf_counter() - begin) / count
