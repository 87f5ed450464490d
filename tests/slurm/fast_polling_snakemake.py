"""Snakemake, which asks Slurm about its jobs every second.

The executor plugin asks after 10 more seconds each time that nothing has ended, which spares a cluster and keeps a test
waiting; no option changes it.
"""

import asyncio
import sys

from snakemake.cli import main
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor


async def _a_second(self: RemoteExecutor) -> None:
    await asyncio.sleep(1)


if __name__ == "__main__":
    RemoteExecutor.sleep = _a_second  # type: ignore[method-assign]
    sys.exit(main())
