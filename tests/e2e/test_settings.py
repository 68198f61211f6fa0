"""The search for settings: what counts as better, and that a case is measured with the result."""

from pathlib import Path
from typing import Any

import onnxruntime
import pytest

from measure_sweep import measure_sweep
from sdbench import backends
from sdbench.backends import onnxruntime as backend
from sdbench.cases.case import Case
from sdbench.measure import settings_search as settings
from sdbench.measure.context import make_context
from sdbench.measure.settings_search import DEFAULT, compare, is_better
from sdbench.records.record import read_indexed
from sdbench.runtime.files import read_json, write_json
from sdbench.runtime.processes import Ended
from search_settings import search_settings
from tests.sweeps import MEASURING, generate, given, make_case


def tuned(options: str = "tuned") -> Case:
    return make_case(options=options, backend="onnxruntime")


@pytest.mark.parametrize(
    ("rounds", "low", "high"),
    # Of six the whole range; of fifteen from the fourth to the twelfth (tables of the sign test).
    [(6, 0, 5), (15, 3, 11)],
)
def test_the_interval_is_of_order_statistics(rounds: int, low: int, high: int) -> None:
    candidate = [1 + i / 100 for i in range(rounds)]
    found = compare([1.0] * rounds, candidate)
    assert found["ratio"] == pytest.approx(1 + (rounds - 1) / 200)
    assert (found["low"], found["high"]) == (candidate[low], candidate[high])
    with pytest.raises(ValueError, match="too few rounds"):
        compare([1.0] * 5, [0.5] * 5)


@pytest.mark.parametrize(("ratio", "better"), [(0.9, True), (1.0, False), (1.1, False)])
def test_better_means_beyond_the_noise(ratio: float, better: bool) -> None:
    assert is_better(compare([1.0] * 15, [ratio] * 15)) is better
    noisy = [ratio] * 10 + [1.3] * 5
    assert not is_better(compare([1.0] * 15, noisy))
    assert not is_better({"reason": "it broke"})


@pytest.mark.parametrize(
    ("ratios", "chosen", "confirmed"),
    [
        ({"a": [1.0], "b": [1.2]}, DEFAULT, []),
        ({"a": [0.9, 0.95], "b": [0.8, 0.85]}, "b", ["b"]),
        ({"a": [0.9, 0.95], "b": [0.8, 1.0]}, "a", ["b", "a"]),
        ({"a": [0.9, 1.1], "b": [0.8, 1.0]}, DEFAULT, ["b", "a"]),
        ({"a": [None], "b": [0.8, 0.9]}, "b", ["b"]),
    ],
)
def test_the_best_is_chosen_if_it_is_better_twice(
    ratios: dict[str, list[float | None]],
    chosen: str,
    confirmed: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each candidate's ratios to the default, duel by duel; with None the process ends."""
    left = {name: iter(found) for name, found in ratios.items()}

    def duel(_work: Any, *args: Any, limit_s: float | None) -> list[Any]:
        ratio = next(left[args[-1]["name"]])
        if ratio is None:
            raise Ended("the process ended with signal 9", [])
        return [{"default_s": [1.0] * 15, "candidate_s": [ratio] * 15}]

    monkeypatch.setattr(settings, "run_in_subprocess", duel)
    monkeypatch.setattr(backend, "CANDIDATES", {name: {"name": name} for name in ratios})
    found = settings.search_settings(tuned(), Path("model"), Path("graphs"))
    assert found["chosen"] == chosen
    assert found["settings"] == ({} if chosen == DEFAULT else {"name": chosen})
    assert [entry["name"] for entry in found["confirmed"]] == confirmed
    assert [entry["name"] for entry in found["candidates"]] == list(ratios)


def test_a_search_keeps_all_that_it_timed(
    model: Path,
    exported: Path,
    quantized: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    candidates = {
        "slow": {"graph_optimization_level": "ORT_DISABLE_ALL", "session.disable_prepacking": "1"},
        "unknown": {"graph_optimization_level": "ORT_NO_SUCH_LEVEL"},
    }
    monkeypatch.setattr(settings, "BLOCK_S", 0.001)
    monkeypatch.setattr(backend, "CANDIDATES", candidates)
    cases = [tuned(options).as_dict() for options in ("tuned", "int8-weights+tuned")]
    records = [folder.with_suffix(".json") for folder in (exported, quantized)]
    search_settings(cases, model, records, tmp_path / "settings.json")
    searches = read_json(tmp_path / "settings.json")["searches"]
    assert set(searches) == {"fp32/tuned", "fp32/int8-weights+tuned"}
    for search in searches.values():
        slow, unknown = search["candidates"]
        assert len(slow["default_s"]) == len(slow["candidate_s"]) == settings.ROUNDS
        assert min(slow["default_s"] + slow["candidate_s"]) > 0
        assert slow["low"] <= slow["ratio"] <= slow["high"]
        assert "ORT_NO_SUCH_LEVEL" in unknown["reason"]


def test_every_candidate_of_onnxruntime_is_taken_and_computes_the_same(
    model: Path, exported: Path
) -> None:
    """A misspelt entry of the session configuration would be taken as well: those are in the
    library's own list of names."""
    library = Path(onnxruntime.__file__).parent / "capi"
    known = b"".join(file.read_bytes() for file in library.glob("onnxruntime_pybind11_state*.so"))
    expected = None
    for chosen in ({}, *backend.CANDIDATES.values()):
        for name in chosen:
            assert not name.startswith("session.") or name.encode() in known, name
        engine = backends.load(tuned(), model, exported, chosen)
        assert engine.switches["settings"] == chosen
        image = generate(engine)
        expected = image if expected is None else expected
        assert abs(image - expected).max() < 1e-5


def test_a_tuned_case_is_measured_with_what_was_found(
    model: Path, exported: Path, tmp_path: Path
) -> None:
    chosen = {"enable_mem_pattern": False}
    found, manifest = tmp_path / "settings.json", tmp_path / "tiny.json"
    write_json(manifest, {"weights": "seeded", "digest": "0" * 64, "files": {}, "components": {}})

    def measure(settings: dict[str, Any]) -> list[dict[str, Any]]:
        write_json(found, {"searches": {"fp32/tuned": {"settings": settings}}})
        cases = [tuned("none"), tuned()]
        job = given(tmp_path / "records", model, manifest, [exported.with_suffix(".json")], [found])
        sweep = make_context(job, cases[0].device, MEASURING)
        measure_sweep([case.as_dict() for case in cases], [], sweep)
        return [record for _, record in read_indexed(tmp_path / "records" / "index.json")]

    plain, best = measure(chosen)
    assert [r["status"] for r in (plain, best)] == ["ok", "ok"], best["reason"]
    assert plain["environment"]["switches"]["settings"] == {}
    assert best["environment"]["switches"]["settings"] == chosen
    # Another outcome of the search measures the tuned case again, and no other.
    again, other = measure({"enable_cpu_mem_arena": False})
    assert again == plain
    assert other["environment"]["switches"]["settings"] == {"enable_cpu_mem_arena": False}
