"""What is the same for all cases or races of a job."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sdbench.backends import chosen_settings
from sdbench.cases.case import Case, Device
from sdbench.cases.measuring import Racing
from sdbench.cases.options import TUNED
from sdbench.devices.machine import identify_machine
from sdbench.export.exported import exported_beside, identify
from sdbench.models.manifest import check_model
from sdbench.models.weights import Components
from sdbench.records.record import fingerprint
from sdbench.runtime.digests import digest
from sdbench.runtime.files import read_json, sha256
from sdbench.runtime.ownership import Claim


@dataclass(frozen=True)
class Graphs:
    """Exported networks: the folder that they lie in, and the digest of what they are."""

    folder: Path
    digest: str


@dataclass(frozen=True)
class SweepContext:
    """What is the same for all cases of a job.

    `model_folder` is None where the model has room nowhere and was not made; `components` are its
    own all the same. `graphs` holds the exported networks that its variants read, by
    `Variant.graphs`; `tuned` the settings that a search chose, by `Variant.key`; `input_digests`
    the digests of what else all its records are made with, besides case and settings of measuring.
    `granted_bytes` is the memory that a cluster gives the job, None on a machine of one's own.
    """

    folder: Path
    model_folder: Path | None
    components: Components
    graphs: Mapping[str, Graphs]
    weights: str
    measuring: Racing
    input_digests: Mapping[str, str]
    granted_bytes: int | None = None
    claim: Claim | None = None
    tuned: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def assert_owner(self) -> None:
        """Go on if no other job has begun the same sweep; called before anything is written.

        Raises:
            TakenOver: if one has.
        """
        if self.claim is not None:
            self.claim.assert_held()

    @property
    def limit_s(self) -> float | None:
        """The seconds that a case may take; None for any number."""
        return self.measuring.case_time_limit_s or None

    def read_by(self, case: Case) -> Graphs | None:
        """Return the exported networks that the variant of `case` reads; None if it reads none."""
        name = case.variant.graphs
        return None if name is None or self.model_folder is None else self.graphs[name]

    def settings_of(self, case: Case) -> Mapping[str, Any]:
        """Return the settings of the backend that were chosen for the variant of `case`, if any."""
        is_tuned = TUNED in case.variant.switches and self.model_folder is not None
        return self.tuned[case.variant.key] if is_tuned else {}

    def deciding(self, case: Case) -> dict[str, str]:
        """Return the digests of all that the record of `case` is made with, besides the case."""
        deciding = dict(self.input_digests)
        graphs = self.read_by(case)
        if graphs is not None:
            deciding["graphs"] = graphs.digest
        if TUNED in case.variant.switches:
            deciding["settings"] = digest(self.settings_of(case))
        return deciding

    def fingerprint(self, case: Case) -> str:
        """Return the fingerprint of the record that this sweep makes of `case`."""
        return fingerprint(case, self.measuring, self.deciding(case))


def make_context(
    device: Device,
    measuring: Racing,
    manifest: Path,
    model_folder: Path | None,
    graphs: Sequence[Path],
    code: str,
    environment_file: Path,
    folder: Path,
    granted_bytes: int | None,
    settings: Path | None = None,
) -> SweepContext:
    """Return what is the same for all that a job measures, from what its rule is given.

    Args:
        device: its entry in the config.
        measuring: what the job needs of the config's section of that name.
        manifest: what the model stage knows of the model; its digest is the model's identity.
        model_folder: the model in the diffusers layout; None where it has room nowhere.
        graphs: the records of the exported networks that the cases read, which lie next to them.
        code: digest of the modules that decide the numbers.
        environment_file: the conda environment of the rule.
        folder: where the records of this model, device and backend lie.
        granted_bytes: the memory that a cluster gives the job; None on a machine of one's own.
        settings: what the search for settings found; None where no case asks for it.

    Raises:
        UserError: if the model or its exported networks are not what was described or exported.
    """
    model = read_json(manifest)
    if model_folder is not None:
        check_model(model_folder, manifest)
    return SweepContext(
        folder=folder,
        model_folder=model_folder,
        components=model["components"],
        graphs={
            record.parent.name: Graphs(exported_beside(record), identify(record))
            for record in graphs
        },
        weights=model["weights"],
        measuring=measuring,
        input_digests={
            "model": model["digest"],
            "code": code,
            "environment": sha256(environment_file),
            "machine": digest(identify_machine(device)),
        },
        granted_bytes=granted_bytes,
        tuned=chosen_settings(settings),
    )
