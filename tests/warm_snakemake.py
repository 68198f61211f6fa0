"""Snakemake's command line for `--cores 1`. Each script runs in a fork of one process that has
imported its libraries, which takes each script seconds otherwise.

A clone's scripts import its code: of this project nothing but `serve` may be imported here. The
libraries are imported for jobs that neither download nor use a GPU.
"""

import gc
import importlib
import logging
import multiprocessing
import os
import runpy
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tests.forked import serve

LIBRARIES = [
    *("snakemake.script", "jsonschema", "jinja2", "itables", "markdown_it"),
    *("pandera.pandas", "pandera.backends.pandas.register", "pandera.strategies.pandas_strategies"),
    *("scipy.stats", "skimage.metrics", "matplotlib.figure"),
    *("matplotlib.backends.backend_agg", "matplotlib.backends.backend_svg"),
    *("torch._dynamo", "torch.utils.flop_counter"),
    "torch.onnx._internal.exporter._torchlib.ops",
    *("onnx", "onnxruntime.quantization"),
    *("transformers.models.clip.modeling_clip", "transformers.models.t5.modeling_t5"),
    "diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion",
]
"""What a script imports besides, it imports itself: OpenVINO begins a thread, which no fork has."""

ENVIRONMENT = {
    # What these read when they are imported, as jobs have it: Snakemake gives each one thread.
    **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
    **{"HF_HUB_OFFLINE": "1", "ORT_DISABLE_TELEMETRY": "1"},
}


def run(script: str, environment: Mapping[str, str], path: Sequence[str]) -> None:
    """Run a script as Python would that has just begun."""
    os.environ.clear()
    os.environ.update(environment)
    sys.argv[:] = [script]
    sys.path[:] = [str(Path(script).parent), *path]
    runpy.run_path(script, run_name="__main__")


def serve_scripts(asked: Connection) -> None:
    """Import the libraries, then run each script that is asked for in a fork."""
    os.environ.update(ENVIRONMENT)
    # They tell of what is not installed, and a script sets what they may say.
    logging.disable()
    for name in LIBRARIES:
        importlib.import_module(name)
    logging.disable(logging.NOTSET)
    # A collection in a fork would copy all of it.
    gc.freeze()
    serve(asked)


def main() -> None:
    path = sys.path[1:]  # without the clone
    asked, theirs = multiprocessing.Pipe()
    server = os.fork()
    if server == 0:
        asked.close()
        serve_scripts(theirs)
        os._exit(0)
    theirs.close()
    sys.path[:] = path
    shell: Any = importlib.import_module("snakemake.shell")  # `snakemake.shell` is a class of it
    from snakemake.cli import main as snakemake

    def begin(command: str, **settings: Any) -> Any:
        _, python, script = command.partition(f" {sys.executable} ")
        if not python:
            return subprocess.Popen(command, **settings)
        asked.send((run, (*shlex.split(script), settings["env"], path)))
        return SimpleNamespace(pid=server, wait=asked.recv)

    shell.sp = SimpleNamespace(**vars(subprocess) | {"Popen": begin})
    sys.exit(snakemake())


if __name__ == "__main__":
    main()
