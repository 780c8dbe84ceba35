"""Python imports this at its start, where a test runs a command: see `quick_tracing.py`.

A process of a small model spends a fifth of its time on collections of garbage.
"""

import gc

gc.set_threshold(100_000, 50, 100)
