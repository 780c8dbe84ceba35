"""Learned positions of a fusion are as many as the cells of a map."""

from parameters import names_and_leaves
from small_fusion import AWKWARD, build

from hybrid_jax.models.image_grid import grid_of


def check_grids_cover_the_image(fusion, *, built_for=AWKWARD, **specs):
    """Every `position` (h, w, D) is a grid of ceil(H / s) x ceil(W / s) cells."""
    grids = {s: grid_of(built_for, s) for s in (4, 8, 16, 32)}
    for name, leaf in names_and_leaves(
        build(fusion, built_for=built_for, **specs).params
    ).items():
        if not name.endswith("position") or leaf.ndim < 3:
            continue
        assert leaf.shape[:2] in grids.values(), (
            f"{name}: built for {built_for[0]}x{built_for[1]} images, it has a grid of "
            f"{leaf.shape[:2]}; one that covers them is of {grids}: use "
            f"grid_of(image_size, stride), not H // stride"
        )
