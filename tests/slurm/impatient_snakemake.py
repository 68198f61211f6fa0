"""Snakemake, asking SLURM for its jobs every second, or every PAUSE_S seconds.

The plugin's own pause grows by ten seconds each time: right for a campaign, and minutes of waiting
in a test. Nothing else differs.
"""

import asyncio
import os
import signal
import sys

from snakemake.cli import main
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor

PAUSE_S = float(os.environ.get("PAUSE_S", "1"))


async def _sleep(executor: RemoteExecutor) -> None:
    await asyncio.sleep(PAUSE_S)


if __name__ == "__main__":
    # Where a shell has the tests run in the background, they ignore Ctrl-C and so would this.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    RemoteExecutor.sleep = _sleep
    sys.exit(main())
