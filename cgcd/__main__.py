"""`python -m cgcd`."""

import sys

from cgcd.cli.main import main

sys.exit(main())
