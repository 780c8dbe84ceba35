"""An evaluation says how far it is, and once that it compiles."""

from hybrid_jax.train.reporting.counted_evaluation import CountedEvaluation


def test_compilation_is_told_once_and_batches_are_counted():
    told, seen = [], []
    config = dict(split="validation", batch_size=4)

    def step(*args):
        seen.append(counted.words())
        return args

    counted = CountedEvaluation(step, range(9), config=config)
    for training_step in (20, 40):
        counted.begin(training_step, say=told.append)
        assert [counted(1, number) for number in range(3)] == [(1, 0), (1, 1), (1, 2)]
    assert told == ["step 20  compiling the evaluation: seconds to minutes, once"]
    assert seen == [
        "reading validation and compiling its evaluation",
        "evaluating validation, batch 1 of 3",
        "evaluating validation, batch 2 of 3",
        "evaluating validation, batch 0 of 3",
        "evaluating validation, batch 1 of 3",
        "evaluating validation, batch 2 of 3",
    ]
