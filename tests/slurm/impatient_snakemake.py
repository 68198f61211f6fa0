"""Snakemake, asking SLURM for its jobs every second.

The plugin's own pause grows by ten seconds each time: right for a campaign, and minutes of waiting
in a test. Nothing else differs.
"""

import asyncio
import sys

from snakemake.cli import main
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor


async def _sleep(executor: RemoteExecutor) -> None:
    await asyncio.sleep(1)


if __name__ == "__main__":
    RemoteExecutor.sleep = _sleep
    sys.exit(main())
