"""Check, before any job begins, that the models of a config can be had."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sdbench.config.files import locate
from sdbench.models.architectures import load_architecture
from sdbench.models.manifest import model_files
from sdbench.runtime.errors import UserError


def check_sources(
    models: Mapping[str, Any], workflow: Path, architectures: Path, files: Sequence[Path] = ()
) -> None:
    """Check the source of every model as far as that can be done without a network.

    Args:
        models: the section `models` of a complete config.
        workflow: what the path of a local model is relative to.
        architectures: the folder of the descriptions of networks.
        files: the files of the config, of which the one with the model is named in an error.

    Raises:
        UserError: if a local folder is missing or is not a model of a known family, or the
            architecture of a seeded model is missing or wrong.
    """
    for name, model in models.items():
        source = model["source"]
        try:
            if "local" in source:
                model_files(workflow / source["local"])
            elif "seeded" in source:
                load_architecture(architectures / f"{source['seeded']}.yaml")
        except (UserError, OSError) as error:
            where = locate(["models", name, "source"], files)
            # Such as a name that no file system takes.
            reason = f"{error.strerror}: use another name" if isinstance(error, OSError) else error
            raise UserError(f"{where}: {reason}") from None
