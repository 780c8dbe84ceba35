"""Variants of unequal size are refused, with what would make them equal."""

import re

import pytest
import stub_study

from hybrid_jax.errors import UserError
from hybrid_jax.studies.planning.matching import check_matched
from hybrid_jax.studies.planning.sizes import Size, size_of, sizes_of
from hybrid_jax.studies.settings import study_of

PAIR = {
    "resnet": {"model.fusion": "resnet"},
    "vit": {"model.fusion": "vit", "model.vit_options.depth": 9},
}


def stub_size(experiment):
    """A ResNet of 1,000 and a ViT of 200 parameters a block, a tenth of it in MACs."""
    if experiment.model.fusion == "resnet":
        return Size(1000, 100)
    return Size(200 * experiment.model.vit_options.depth, 100)


def check(measure=stub_size, **options):
    study = study_of(stub_study.config(**dict(variants=PAIR, matched="params") | options))
    check_matched(study, sizes_of(study, measure), measure)


def test_refuses_and_proposes_the_depth_that_fits():
    with pytest.raises(UserError) as refused:
        check()
    text = str(refused.value)
    assert "vit: 1,800 (+80.0%)" in text
    assert "nearest is model.vit_options.depth=5 with 1,000 (+0.0%)" in text


def test_proposal_fits_and_other_quantities_are_their_own():
    check(variants=PAIR | {"vit": {"model.fusion": "vit", "model.vit_options.depth": 5}})
    check(matched="macs")
    check(matched="none")
    check(tolerance=0.81)
    with pytest.raises(UserError, match="not matched in params"):
        check(tolerance=0.79)


def test_every_setting_counts():
    depths = {"model.vit_options.depth": (5, 6)}
    variants = {"resnet": {"model.fusion": "resnet"}, "vit": {"model.fusion": "vit"}}
    with pytest.raises(UserError, match=r"vit: 1,200 \(\+20"):
        check(variants=variants, grid=depths)


@pytest.mark.slow  # traces models; proposals are looked at above with sizes made up
def test_proposal_for_a_real_model_is_nearer():
    # Steps of the width are as wide as there are heads: few models are traced.
    vit = PAIR["vit"] | {"model.vit_options.depth": 2, "model.vit_options.num_heads": 32}
    small = {"resnet": PAIR["resnet"] | {"model.resnet_options.blocks": (1, 1)}}
    with pytest.raises(UserError) as refused:
        check(measure=size_of, variants=small | {"vit": vit})
    text = str(refused.value)
    was, now = (float(share) for share in re.findall(r"\(([+-][\d.]+)%\)", text))
    assert abs(now) < abs(was)
    key, value = re.search(r"nearest is model\.(\S+)=(\d+)", text).groups()
    changed = vit | {f"model.{key}": int(value)}
    options = dict(variants=small | {"vit": changed}, tolerance=abs(now) / 100 + 1e-3)
    check(measure=size_of, **options)
