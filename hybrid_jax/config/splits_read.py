"""Which splits of its data an experiment reads."""

from ml_collections import ConfigDict


def eval_splits(config: ConfigDict) -> list[str]:
    """Returns the splits that `eval.split` names, as commas part them."""
    return [split.strip() for split in config.eval.split.split(",")]


def splits_read(config: ConfigDict) -> list[str]:
    """Returns the split to train on and those to evaluate, each once."""
    return list(dict.fromkeys([config.data.train_split, *eval_splits(config)]))
