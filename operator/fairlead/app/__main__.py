"""`python -m fairlead.app`: the operator's container entry point."""

from __future__ import annotations

import sys

from .main import main

sys.exit(main())
