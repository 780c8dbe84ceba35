"""Published weights: the layouts (dialects) of checkpoint files, loading and saving."""
