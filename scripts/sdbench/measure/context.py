"""What is the same for all cases or races of a job."""

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from sdbench import backends
from sdbench.backends.engine import Engine
from sdbench.cases.case import Case, Device, Pair
from sdbench.cases.measuring import Racing
from sdbench.cases.options import TUNED
from sdbench.devices.machine import describe_machine, identify_machine
from sdbench.export.exported import exported_beside, identify
from sdbench.models.computed import Peaks
from sdbench.models.manifest import why_unusable
from sdbench.models.weights import Components
from sdbench.records.intervals import launch_interval
from sdbench.records.record import (
    Measured,
    fingerprint,
    is_reusable,
    now,
    record_path,
    write_record,
)
from sdbench.runtime.digests import digest
from sdbench.runtime.files import read_json, sha256
from sdbench.runtime.job import granted_bytes, optional
from sdbench.runtime.ownership import OWNER, Claim, claim
from sdbench.runtime.progress import say

if TYPE_CHECKING:
    from sdbench.measure.agreement import Expected


@dataclass(frozen=True)
class Graphs:
    """Exported networks: the folder that they lie in, and the digest of what they are."""

    folder: Path
    digest: str


@dataclass(frozen=True)
class SweepContext:
    """What is the same for all cases of a job.

    `model_folder` is None where the model has room nowhere and was not made; `components` are its
    own all the same; `failed` says why it could not be made, or is not as it was made. `graphs`
    holds the exported networks that its variants read, by `Variant.graphs`; `expected` is what
    PyTorch makes in their place; `tuned` the settings that a search chose, by `Variant.key`;
    `input_digests` are of what else all its records are made with, besides case and settings of
    measuring. `peaks` are what is computed of whole calls. `granted_bytes` is the memory that a
    cluster gives the job, None on a machine of one's own.
    """

    folder: Path
    model_folder: Path | None
    components: Components
    graphs: Mapping[str, Graphs]
    weights: str
    measuring: Racing
    input_digests: Mapping[str, str]
    failed: str | None = None
    expected: "Expected | None" = None
    granted_bytes: int | None = None
    peaks: Peaks = field(default_factory=dict)
    claim: Claim | None = None
    tuned: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def claimed(self) -> Self:
        """Return the same, its folder claimed for this job."""
        return replace(self, claim=claim(self.folder / OWNER))

    def assert_owner(self) -> None:
        """Raise `TakenOver` if another job has begun the same; asked before anything is written."""
        if self.claim is not None:
            self.claim.assert_held()

    @property
    def limit_s(self) -> float | None:
        """The seconds that a case may take; None for any number."""
        return self.measuring.case_time_limit_s or None

    def load(self, case: Case) -> tuple[Engine, float]:
        """Load the variant of a case; return it, and the seconds that this took."""
        begin = time.perf_counter()
        graphs, model_folder = self._read_by(case), backends.require_model(self.model_folder)
        folder = graphs.folder if graphs else None
        engine = backends.load(case, model_folder, folder, self._settings_of(case))
        engine.synchronize()
        return engine, time.perf_counter() - begin

    def _read_by(self, case: Case) -> Graphs | None:
        name = case.variant.graphs
        return None if name is None or self.model_folder is None else self.graphs[name]

    def _settings_of(self, case: Case) -> Mapping[str, Any]:
        is_tuned = TUNED in case.variant.switches and self.model_folder is not None
        return self.tuned.get(case.variant.key, {}) if is_tuned else {}

    def _deciding(self, case: Case) -> dict[str, str]:
        """Return the digests of all that the record of `case` is made with, besides the case."""
        deciding = dict(self.input_digests)
        if graphs := self._read_by(case):
            deciding["graphs"] = graphs.digest
        if TUNED in case.variant.switches:
            deciding["settings"] = digest(self._settings_of(case))
        return deciding

    def write_failed(self, measured: Sequence[Measured]) -> bool:
        """Write that the model failed as the record of each; tell whether it did."""
        for one in measured if self.failed else ():
            device = (one.case if isinstance(one, Pair) else one).device
            self.write(one, now(), describe_machine(device), "error", self.failed)
        return self.failed is not None

    def fingerprint(self, measured: Measured) -> str:
        """Return the fingerprint of the record that this job makes of a case or a race."""
        case = measured.case if isinstance(measured, Pair) else measured
        return fingerprint(measured, self.measuring, self._deciding(case))

    def has(self, measured: Measured) -> bool:
        """Tell whether there is a record that still holds."""
        return is_reusable(record_path(self.folder, measured), self.fingerprint(measured))

    def write(
        self,
        measured: Measured,
        started_at: str,
        environment: Mapping[str, Any],
        status: str,
        reason: str | None = None,
        complete: bool = True,
        **parts: Any,
    ) -> None:
        """Write the record of a case or a race; `parts` are those that were measured. It is
        `complete` if no launch is to follow."""
        if isinstance(measured, Pair):
            case, what = measured.case, measured.as_dict()
        else:
            case, what = measured, {"case_id": measured.id, "case": measured.as_dict()}
        record = what | {
            "fingerprint": self.fingerprint(measured),
            "input_digests": self._deciding(case),
            "weights": self.weights,
            "status": status,
            "reason": reason,
            "complete": complete,
            **parts,
            "environment": dict(environment),
            "started_at": started_at,
            "finished_at": now(),
        }
        self.assert_owner()
        write_record(self.folder, measured, record)
        if complete:
            launches = None if isinstance(measured, Pair) else parts.get("launches")
            found = f", {_call_text(launches)}" if launches else ""
            say(f"{measured.title}: {status}{found}{f' ({reason})' if reason else ''}")


def _call_text(launches: Sequence[Mapping[str, Any]]) -> str:
    """Return what a call takes, as the table of results will have it."""
    medians = [statistics.median(launch["latency"]["samples_s"]) for launch in launches]
    seconds = launch_interval(medians).value
    text = f"{seconds:.3g} s" if seconds < 1000 else f"{seconds / 60:.1f} min"
    return f"{text} per call{', projected' if launches[0]['projection'] else ''}"


def make_context(job: Any, device: Device, measuring: Racing) -> SweepContext:
    """Return what is the same for all that a job measures, from what Snakemake gives its script.

    The inputs are the model and its manifest, whose digest is the model's identity, records of
    exported networks, and what the search for settings found. Records are made next to the output.
    """
    manifest, model_folder = Path(job.input.manifest), optional(job.input.model)
    model, graphs = read_json(manifest), [Path(record) for record in job.input.graphs]
    return SweepContext(
        folder=Path(job.output.index).parent,
        model_folder=model_folder,
        components=model["components"],
        graphs={one.parent.name: Graphs(exported_beside(one), identify(one)) for one in graphs},
        weights=model["weights"],
        measuring=measuring,
        input_digests={
            "model": model["digest"],
            "code": job.params.code,
            "environment": sha256(Path(job.input.environment_file)),
            "machine": digest(identify_machine(device)),
        },
        failed=why_unusable(model_folder, manifest),
        granted_bytes=granted_bytes(job.resources),
        peaks=getattr(job.params, "peaks", {}),
        tuned=backends.chosen_settings(optional(job.input.settings)),
    )
