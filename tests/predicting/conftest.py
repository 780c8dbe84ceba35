"""A run of random weights is restored once in a file of tests."""

import pytest


@pytest.fixture(scope="module")
def restored_once():
    """Keeps what `predict_run` restores: a second time takes longer than predicting."""
    # Not at the top: nothing of the library is imported before `border_checks.install`.
    from hybrid_jax.predicting import predict_run

    restore, known = predict_run.restored_run, {}

    def restored(config, workdir, **options):
        info = repr(options["source"].info)
        key = (str(workdir), config.to_json_best_effort(), info)
        if key not in known:
            known[key] = restore(config, workdir, **options)
        return known[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(predict_run, "restored_run", restored)
        yield
