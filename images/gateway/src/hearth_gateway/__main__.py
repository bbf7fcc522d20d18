"""`python -m hearth_gateway`."""

import sys

from hearth_gateway.serve import run

sys.exit(run())
