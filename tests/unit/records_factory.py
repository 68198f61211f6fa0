"""Made-up records, whole and valid."""

from typing import Any

from sdbench.cases.case import Case, Device, Pair, Variant
from sdbench.cases.measuring import Measuring
from sdbench.records.record import RACE_VERSION, SCHEMA_VERSION, Record
from sdbench.tables.files import Row
from sdbench.tables.rows import result_rows

GENERATION = {"prompt": "a red circle", "steps": 2, "scheduler": "ddim", "guidance": 4.0,
              "height": 64, "width": 64, "seed": 0}  # fmt: skip

CPU = {"features": ["avx", "avx2"]}
LIMITS = {"affinity": "0-1", **dict.fromkeys(
    ("cpu_quota", "memory_bytes", "data_bytes", "address_space_bytes"))}  # fmt: skip

MEASURING = Measuring(
    contention="warn", max_busy_cores=0.25, contention_wait_s=0, warmup_calls=1,
    case_time_limit_s=600, min_samples=3, min_duration_s=0.0, max_duration_s=10.0,
    min_samples_capped=3, phase_samples=2, project_above_s=0, throughput_duration_s=0.1,
    launches=1, precision=0.0,
)  # fmt: skip
"""As short as can be."""


def make_case(batch_size: int = 1, precision: str = "fp32", options: str = "none") -> Case:
    variant = Variant("shapes", "cpu", "pytorch", precision, options)
    return Case(variant, batch_size, GENERATION, Device("cpu", threads=1))


def make_launch(samples: list[float], **changes: Any) -> dict[str, Any]:
    """Return what a record has of one launch in which nothing went wrong."""
    compiled = {"compile_s": None, "compile_cached": None}
    parts = {"text_encoder_s": 0.01, "denoiser_s": 0.08, "vae_decoder_s": 0.02}
    still = {key: [0.0] for key in ("others_s", "stolen_s", "throttled_s")}
    return {
        "cold_start": {"load_s": 0.5, "first_call_s": 0.9, **compiled},
        "latency": {"warmup_s": [0.4], "samples_s": samples},
        "phases": [{**parts, "denoiser_evaluations": 2, "step_s": [0.04, 0.05]}],
        "projection": None,
        "throughput": {"intervals_s": samples, "energy": None},
        "device_state": {"before": {}, "during": [], "after": {}},
        "usage": {"seconds": 1.0, "switches": [0], **still},
        "gpu_processes": [],
        "disturbed": [],
        "repeats": 0,
        "seconds": 1.0,
        "measured_at": "2026-01-01T00:00:01+00:00",
        **changes,
    }


def make_record(case: Case, samples: list[float] | None = None, **changes: Any) -> Record:
    """Return a record with status `ok` and one launch, or as `changes` has it, also of parts of
    the launch."""
    launch = make_launch(samples or [0.1, 0.2, 0.3])
    launch |= {key: changes.pop(key) for key in list(changes) if key in launch}
    record: Record = {
        "schema_version": SCHEMA_VERSION,
        "case_id": case.id,
        "fingerprint": "0" * 64,
        "input_digests": {"model": "1" * 64},
        "case": case.as_dict(),
        "weights": "trained",
        "status": "ok",
        "reason": None,
        "complete": True,
        "launches": [launch],
        "memory": {"resident_peak_bytes": 1000, "resident_above_load_bytes": 200},
        "contention": {"contended": False, "busy_cores": 0.0, "gpu_processes": [], "waited_s": 0},
        "image": {"file": "batch.png", "sha256": "2" * 64},
        "agreement": None,
        "environment": {
            **{"host": "h", "device_name": "A CPU", "threads": 1, "python": "3.11"},
            **{"switches": {"autocast_dtype": None}, "cpu": CPU, "libraries": {}},
            **dict.fromkeys(("slurm_job", "slurm_node", "cuda_visible_devices")),
            **{"limits": LIMITS, "variables": {}, "done_without": {}, "preloaded": []},
        },
        "started_at": "2026-01-01T00:00:00+00:00",
        "finished_at": "2026-01-01T00:00:01+00:00",
    }
    return record | changes


def make_failure(case: Case, status: str, reason: str) -> Record:
    empty = dict.fromkeys(("launches", "memory", "contention", "image"))
    return make_record(case, status=status, reason=reason, **empty)


def make_rows(*records: Record) -> list[Row]:
    """Return the rows of RESULTS of records, of a device without a price."""
    return result_rows(records, {"cpu": 0}, "USD", precision=0.02, drift={"cpu": None})


def make_pair(options: str = "attention-vanilla", rounds: int = 3) -> Pair:
    return Pair(make_case(options=options), make_case().variant, rounds)


def make_run(evaluation_s: list[float], **changes: Any) -> dict[str, Any]:
    """Return what a race records of one of the two; it waited two seconds before each turn."""
    return {
        "load_s": 0.5,
        "compile_s": None,
        "compile_cached": None,
        "warmup_s": [1.0],
        "evaluation_s": evaluation_s,
        "waited_s": [2.0] * len(evaluation_s),
        "waited_cpu_s": [0.02] * len(evaluation_s),
        "memory": {"resident_peak_bytes": 2000},
        **changes,
    }


def make_race(pair: Pair, own: list[float], base: list[float], **changes: Any) -> Record:
    """Return the record of a race with status `ok`, or as `changes` has it: as many launches as
    there are seconds, of one round each."""
    record = make_record(pair.case)
    kept = ("fingerprint", "input_digests", "weights", "status", "reason", "contention",
            "complete", "started_at", "environment", "finished_at")  # fmt: skip
    return {
        "schema_version": RACE_VERSION,
        **{key: record[key] for key in kept},
        **pair.as_dict(),
        "launches": [
            {"challenger_run": make_run([o]), "reference_run": make_run([b]), "divergence": 1e-6}
            for o, b in zip(own, base, strict=True)
        ],
        **changes,
    }


def make_failed_race(pair: Pair, status: str, reason: str) -> Record:
    empty = dict.fromkeys(("launches", "contention"))
    return make_race(pair, [], [], status=status, reason=reason, **empty)


OPERATIONS = {"text_encoder_flop": 2 * 10**9, "denoiser_flop": 4 * 10**12,
              "vae_decoder_flop": 10**12}  # fmt: skip
"""What each network takes: 9.002 TFLOP for an image of `GENERATION`."""


def make_peaks(tflops: dict[str, float], **environment: Any) -> dict[str, Any]:
    """Return what `measure_peak_throughput` writes for the device of `make_record`: one that does
    without the precisions that `tflops` leaves out."""
    ok = {"status": "ok", "reason": None}
    copy = {"operation": "memory copy", "precision": None, "gb_per_s": 20.0}
    rows = [
        {"operation": "matrix product", "precision": precision}
        | (
            {**ok, "tflops": rate, "side": 1024, "samples_s": {"512": [0.1] * 3, "1024": [0.2] * 2}}
            if (rate := tflops.get(precision))
            else {"status": "unsupported", "reason": f"no {precision} here"}
        )
        for precision in ("fp32", "fp16", "bf16")
    ]
    return {
        "device": "cpu",
        "contention": {"contended": True},
        "environment": {"device_name": "A CPU", "threads": 1, "cpu": CPU, **environment},
        "peaks": [*rows, copy | ok | {"samples_s": {"512": [0.1] * 4}}],
    }
