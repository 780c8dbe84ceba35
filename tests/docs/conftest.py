"""Makes the scripts in `docs/` importable, as the site's hook does."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "docs"))
