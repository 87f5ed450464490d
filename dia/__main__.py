"""``python -m dia``: the command line without the console script."""

import sys

from dia.cli import main

sys.exit(main())
