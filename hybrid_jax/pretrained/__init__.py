"""Published weights: the dialects files speak, and how they come into a model."""
