"""sdbench: what does it take to run a text-to-image model? The library below the workflow."""

import sys
import traceback
from pathlib import Path
from types import TracebackType

from sdbench.runtime.environment import do_without, name_user

__version__ = "0.1.0"
"""As in CITATION.cff; a test holds the two together."""


def _log_too(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Write to the rule's log what ends its script before that was opened: a failing import."""
    sys.__excepthook__(kind, error, trace)
    with Path(sys.modules["__main__"].snakemake.log[0]).open("a", encoding="utf-8") as log:
        traceback.print_exception(error, file=log)


name_user()
# The scripts import this package first; Snakemake has put its object there before.
if hasattr(sys.modules["__main__"], "snakemake"):
    sys.excepthook = _log_too
    do_without()
