"""What disturbed a launch, by what was counted while samples were taken."""

from pathlib import Path
from typing import Any

import pytest

from sdbench.measure import disturbance
from sdbench.measure.disturbance import Usage, disturbances
from tests.unit.records_factory import make_launch


def usage(**changes: Any) -> dict[str, Any]:
    still = {"seconds": 2.0, "switches": [0, 0]}
    return {
        **still,
        **{key: [0.0, 0.0] for key in ("others_s", "stolen_s", "throttled_s")},
        **changes,
    }


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, []),
        ({"usage": usage(others_s=[0.2, 0.3])}, []),
        ({"usage": usage(others_s=[0.2, 0.4])}, ["others used 0.30 cores"]),
        ({"usage": usage(others_s=None, stolen_s=None)}, []),
        ({"usage": usage(stolen_s=[0.0, 0.2])}, ["the host took 0.10 cores away"]),
        (
            {"usage": usage(throttled_s=[1.0, 0.0])},
            ["a limit of the container held it back"],
        ),
        ({"gpu_processes": [{"pid": 7}]}, ["process 7 computed on the GPU"]),
        ({"throughput": {"intervals_s": [0.12, 0.1], "energy": None}}, []),
        ({"throughput": {"intervals_s": [0.2, 0.1], "energy": None}}, ["single calls took 0.1 s"]),
        ({"latency": {"samples_s": [0.02]}, "throughput": {"intervals_s": [0.029]}}, []),
        ({"latency": {"samples_s": [0.02]}, "throughput": {"intervals_s": [0.031]}}, ["single"]),
        ({"throughput": None}, []),
    ],
)
def test_what_disturbs(changes: dict[str, Any], said: list[str]) -> None:
    found = disturbances(make_launch([0.1]) | changes, max_busy_cores=0.25)
    assert len(found) == len(said)
    assert all(line.startswith(begin) for line, begin in zip(found, said, strict=True))


def test_others_are_what_our_processors_did_and_we_did_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stat = tmp_path / "stat"
    monkeypatch.setattr(disturbance, "STAT", stat)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 2})
    # user nice system idle iowait irq softirq steal; of three processors, one is not ours.
    stat.write_text("cpu 0\ncpu0 0 0 0 0 0 0 0 0\ncpu1 0 0 0 0 0 0 0 0\ncpu2 0 0 0 0 0 0 0 0\n")
    seen = Usage()
    stat.write_text(
        "cpu 0\ncpu0 9000 0 1000 7 0 0 0 50\ncpu1 5000 0 0 0 0 0 0 0\ncpu2 0 0 0 9 0 0 500 0\n"
    )
    seen.read()
    found = seen.as_dict()
    assert found["others_s"] == [pytest.approx(105.0, abs=1)]  # but for what this test itself used
    assert found["stolen_s"] == [0.5]
    monkeypatch.setattr(disturbance, "STAT", tmp_path / "none")
    assert Usage().as_dict()["others_s"] is None
