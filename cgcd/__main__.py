"""`python -m cgcd`."""

import sys

from cgcd.cli.main import console

sys.exit(console())
