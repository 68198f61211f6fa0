"""Why a cell of the matrix cannot be a case: known before a device is touched."""

from dataclasses import dataclass

from sdbench.cases.capabilities import BACKENDS
from sdbench.cases.case import Variant
from sdbench.cases.kinds import KINDS
from sdbench.cases.options import OPTIONS


@dataclass(frozen=True)
class Absent:
    """A cell of the matrix that cannot be a case."""

    variant: Variant
    batch_size: int
    reason: str


def why_absent(variant: Variant, kind: str) -> str | None:
    """Say why no case can exist for `variant` on a device of this kind; None if one can.

    Only what is known before a device is touched stands here. What a machine or an installed
    library lacks is found when the variant is loaded, and is a row with status `unsupported`.
    """
    options = [OPTIONS[switch] for switch in variant.switches]
    for reason in (reason for option in options for reason in option.excludes):
        chosen = [option.name for option in options if reason in option.excludes]
        if len(chosen) > 1:
            return f"{' and '.join(chosen)} exclude each other: {reason}"
    backend = BACKENDS[variant.backend]
    if kind not in backend.kinds:
        return f"{variant.backend} does not run on kind {kind}: {backend.no_kind}"
    if variant.precision == "tf32" and KINDS[kind].no_tf32:
        return KINDS[kind].no_tf32
    if variant.precision not in backend.precisions:
        return f"{variant.backend} has no {variant.precision}: {backend.no_precision}"
    reasons = (option.why_not(variant.backend, variant.precision, kind) for option in options)
    return next(filter(None, reasons), None)
