"""Being here puts this folder on the path, so that `fusions/` finds its helpers."""
