"""The package's log: timestamped lines on standard error."""

import logging
import sys

LOG = logging.getLogger("dia")


def start_logging() -> None:
    """Timestamped lines on standard error, where the workflow's log files take them from."""
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s", force=True
    )
    logging.captureWarnings(True)
