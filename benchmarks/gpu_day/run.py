"""Measure one slice of a day with a GPU, and pack what was measured (docs/gpu-day.md).

    make gpu-day SLICE=2 [ARGS="--minutes 9 --out FOLDER --rehearse"]

A slice is a config next to this file, whose name begins with that of the slice. The workflow runs
it; nothing is measured once the minutes are nearly over, and what there is by then is packed, for
`make page RECORDS=`. Called again, it goes on where it ended. `--rehearse`, or a machine without an
NVIDIA GPU, runs the same on the CPU, with tiny models in place of large ones: its numbers mean
nothing.
"""

import argparse
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from sdbench.cases.case import Variant, why_absent
from sdbench.cases.kinds import nvidia_gpus
from sdbench.cases.options import NONE
from sdbench.records.image_archive import read_images
from sdbench.records.record import read_indexed
from sdbench.runtime.errors import UserError
from sdbench.runtime.files import read_json
from sdbench.runtime.processes import DEADLINE

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
MINUTES = 9.0
"""Such machines often allow ten for a command."""
PACK_S = 60.0
"""Of these, the seconds that jobs have to begin, to find that the time is over, and to pack."""
PROGRAM_S = 150.0
"""And those of each program that follows."""
MOST_BYTES = 16_000_000
"""Of an archive that is carried home."""
PROGRAMS: Mapping[str, Sequence[Sequence[str]]] = {
    "1-smoke": [["gpu_day/differences.py", "{results}"]],
    "3-fidelity": [
        [
            "fidelity.py",
            "--kind",
            "{kind}",
            "--model",
            "{results}/models/sd-v1",
            "--size",
            "{size}",
            "--rounds",
            "30",
        ],
        ["repeatability.py", "--configfile", "{config}", "--runs", "5", "--resume"],
    ],
}
"""What is run after the workflow, in benchmarks/, by slice."""
TWINS = {"sd-v1": "tiny", "sdxl": "tiny-sdxl", "flux.1-dev": "tiny-flux-dev"}
"""What a rehearsal builds in place of a model."""
SHORT = {"max_busy_cores": 1000, "min_samples": 3, "min_duration_s": 0,
         "max_duration_s": 1.0, "throughput_duration_s": 0.1, "phase_samples": 1}  # fmt: skip
SMALL = {"steps": 3, "height": 64, "width": 64}


def main() -> int:
    """Run a slice; return the exit status, 0 if there is an archive."""
    begin = time.monotonic()
    slices = {path.stem.partition("-")[0]: path for path in sorted(HERE.glob("[0-9]*.yaml"))}
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("slice", choices=list(slices))
    parser.add_argument("--minutes", type=float, default=MINUTES, help="until it has ended")
    parser.add_argument("--out", type=Path, help="where archive and text are copied to")
    parser.add_argument("--rehearse", action="store_true")
    given = parser.parse_args()
    source = slices[given.slice]
    rehearsed = given.rehearse or not nvidia_gpus()
    config = yaml.safe_load(source.read_text(encoding="utf-8"))
    config = rehearsal(config) if rehearsed else config
    results = Path(config["pathvars"]["results"])
    out = given.out or results.parent
    (ROOT / out).mkdir(parents=True, exist_ok=True)
    written = ROOT / out / f"{source.stem}.config.yaml"
    written.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    end = begin + 60 * given.minutes
    with (ROOT / out / f"{source.stem}.txt").open("a", encoding="utf-8") as log:
        told = Log(log)
        told.say(f"slice {source.stem}, {given.minutes:g} minutes at most")
        if rehearsed:
            why = "as asked" if given.rehearse else "for want of an NVIDIA GPU"
            told.say(f"A REHEARSAL on the CPU, {why}: its numbers mean nothing")
        for path in unfinished(ROOT / results):
            path.unlink()
        programs = PROGRAMS.get(source.stem, ())
        measured_by = end - PACK_S - PROGRAM_S * len(programs)
        archive = ROOT / results / "records.tar.gz"
        archive.unlink(missing_ok=True)
        # No lock: a command that was killed leaves its own behind.
        command = ["snakemake", "--cores", "all", "--nolock", "--rerun-incomplete", "--quiet",
                   "rules", "--configfile", str(written), "--", "pack_records"]  # fmt: skip
        told.run(command, end - PROGRAM_S * len(programs), measured_by)
        status = told.archived(archive, ROOT / out / f"{source.stem}.tar.gz")
        kind = "cpu" if rehearsed else "cuda"
        for number, (program, *arguments) in enumerate(programs, 1):
            size = next(iter(config["models"].values()))["generation"]["height"]
            names = {"results": results, "config": written, "kind": kind, "size": size}
            own_end = end - PROGRAM_S * (len(programs) - number)
            filled = [argument.format(**names) for argument in arguments]
            command = [sys.executable, str(HERE.parent / program), *filled]
            told.run(command, own_end, own_end - 30)
        told.say("done")
        return status


def rehearsal(config: dict[str, Any]) -> dict[str, Any]:
    """Return a slice's config as a CPU runs it within minutes."""
    results = Path(config["pathvars"]["results"])
    twins = {}
    for name, model in config["models"].items():
        source = model["source"]
        if "seeded" in source:
            source = {"seeded": TWINS.get(source["seeded"], source["seeded"])}
        twins[name] = {"source": source, "generation": model["generation"] | SMALL}
    named = list(config.get("devices", {"cpu": None}))
    asked = {precision for entry in config["matrix"] for precision in entry["precisions"]}
    # Few CPUs have fp16, and a slice of nothing else would measure nothing.
    plain = {"precision": "fp32"} if asked == {"fp16"} else {}
    matrix = []
    for entry in config["matrix"]:
        small = [size for size in entry["batch_sizes"] if size <= 2]
        devices = named if isinstance(entry["devices"], str) else entry["devices"]
        few = {"batch_sizes": small, "largest_batch": min(3, entry.get("largest_batch", 0))}
        precisions = {"precisions": list(plain.values()) or entry["precisions"]}
        matrix.append(entry | {"devices": devices} | few | precisions)
    sets = [wanted | {"variants": _on_cpus(wanted)} for wanted in config["quality_set"]]
    return config | {
        "quality_set": sets,
        "pathvars": {"results": (results.parent / "rehearsal" / results.name).as_posix()},
        "models": twins,
        "devices": {name: {"kind": "cpu"} for name in named},
        "matrix": matrix,
        "races": [
            race
            | {"sizes": [64], "rounds": 2}
            | {"reference": race["reference"] | plain}
            | {"variants": [variant | plain for variant in race["variants"]]}
            for race in config.get("races", [])
        ],
        "measuring": config["measuring"] | SHORT,
    }


def _on_cpus(wanted: Mapping[str, Any]) -> list[Mapping[str, str]]:
    """Return the variants of a set of images that a CPU has."""
    model, device = wanted["model"], wanted["device"]
    return [
        one
        for one in wanted["variants"]
        if not why_absent(
            Variant(model, device, "pytorch", one["precision"], one.get("options", NONE)), "cpu"
        )
    ]


def unfinished(results: Path) -> Iterator[Path]:
    """Yield the outputs that a run which ended early, or found errors, would not make again; those
    that are damaged are among them."""
    asked: Mapping[str, Callable[[Path], bool]] = {
        "r*/*/*/*/index.json": _is_measured,  # of records and races
        "peak_throughput/*.json": lambda path: _none_failed(read_json(path)["peaks"]),
        "quality/**/*.npz": lambda path: _none_failed([read_images(path)]),
    }
    for pattern, is_finished in asked.items():
        for path in results.glob(pattern):
            with contextlib.suppress(UserError):
                if is_finished(path):
                    continue
            yield path


def _is_measured(index: Path) -> bool:
    records = [record for _, record in read_indexed(index)]
    searched = not any(search["reason"] for search in read_json(index)["largest"])
    return searched and _none_failed(records) and all(record["complete"] for record in records)


def _none_failed(parts: Iterable[Mapping[str, Any]]) -> bool:
    return all(part["status"] != "error" for part in parts)


class Log:
    """What a slice says, on the terminal and in a file that is carried home."""

    def __init__(self, file: Any) -> None:
        self.file = file
        self.began = time.monotonic()

    def say(self, line: str) -> None:
        """Say a line, after the seconds since the slice began."""
        text = f"[{time.monotonic() - self.began:4.0f} s] {line}"
        print(text, flush=True)
        print(text, file=self.file, flush=True)

    def run(self, command: Sequence[str], end: float, measured_by: float) -> None:
        """Run a command and say what it says. It is told when it must have measured; one that still
        runs at `end` is killed with all that it began."""
        told = {"PYTHONPATH": str(ROOT / "scripts"), DEADLINE: str(measured_by)}
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **told, "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        assert process.stdout is not None
        with watchdog(process, end):
            for line in process.stdout:
                self.say(line.rstrip())
        if process.wait():
            self.say(f"{Path(command[0]).name} {Path(command[1]).name}: {process.returncode}")

    def archived(self, archive: Path, copy: Path) -> int:
        """Copy the archive to where it is fetched from; return the exit status."""
        if not archive.exists():
            self.say("nothing was packed: call it again, it goes on")
            return 1
        shutil.copyfile(archive, copy)
        size = copy.stat().st_size
        self.say(f"{copy}: {size / 1e6:.2f} MB")
        if size > MOST_BYTES:
            self.say(f"that is more than {MOST_BYTES / 1e6:.0f} MB: split it to carry it")
        return 0


@contextlib.contextmanager
def watchdog(process: subprocess.Popen[str], end: float) -> Iterator[None]:
    """Kill a process and its session at `end`: first so that it ends its own jobs."""

    def stop() -> None:
        for sign in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, sign)
            time.sleep(5)

    timer = threading.Timer(max(0.0, end - time.monotonic()), stop)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


if __name__ == "__main__":
    sys.exit(main())
