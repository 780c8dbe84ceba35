"""The guarantees fail for fusions that break them, each with a sentence that says how."""

import re

import fusion_guarantees as guarantees
import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from hybrid_jax.contracts import Features
from hybrid_jax.errors import UserError
from hybrid_jax.models.fusions import FUSIONS
from hybrid_jax.models.hybrid import create_model
from hybrid_jax.registry import Registry


class Sound(nnx.Module):
    """A fusion as small as one can be and keep every promise: means of patches."""

    parts = ("vit",)
    starts_as = None
    stride = 16

    def __init__(self, resnet_spec, vit_spec, *, image_size, rngs):
        self.vit = nnx.Dict(
            embed=nnx.Linear(3 * 16 * 16, 8, dtype=jnp.dtype(vit_spec.dtype), rngs=rngs)
        )
        self.rate = vit_spec.drop_path
        self.channels = {16: 8}
        self.width = 8

    def __call__(self, images, *, train=False, key=None):
        return self.features(self.cells(images, train=train, key=key))

    def cells(self, images, *, train, key):
        pads = ((0, 0), (0, -images.shape[1] % 16), (0, -images.shape[2] % 16), (0, 0))
        images = jnp.pad(images, pads)
        B, H, W, _ = images.shape
        x = images.reshape(B, H // 16, 16, W // 16, 16, 3)
        x = x.transpose(0, 1, 3, 2, 4, 5).reshape(B, H // 16, W // 16, -1)
        x = self.vit["embed"](x)
        if train and key is not None:
            x = jnp.where(jax.random.bernoulli(key, 1 - self.rate, x.shape), x, 0)
        return x

    def features(self, x):
        return Features(maps={16: x}, pooled=x.mean((1, 2)))


def test_a_sound_fusion_passes():
    guarantees.check_contract(Sound, hw=(33, 65))
    guarantees.check_contract(Sound, dtype="bfloat16")
    guarantees.check_everything_is_read(Sound)
    guarantees.check_gradient_reaches_everything(Sound)
    guarantees.check_examples_do_not_mix(Sound)
    guarantees.check_eval_is_deterministic(Sound)
    guarantees.check_jit_equals_eager(Sound)
    guarantees.check_drops_follow_the_key(Sound)
    guarantees.check_names_are_stable(Sound)
    guarantees.check_holds_only_parameters_and_statistics(Sound)


class IgnoresABranch(Sound):
    parts = ("resnet", "vit")

    def __init__(self, resnet_spec, vit_spec, **kw):
        super().__init__(resnet_spec, vit_spec, **kw)
        self.resnet = nnx.Dict(stem=nnx.Linear(3, 5, rngs=kw["rngs"]))


class StopsAGradient(Sound):
    def features(self, x):
        return super().features(jax.lax.stop_gradient(x))


class CancelsAParameter(Sound):
    def __init__(self, *specs, **kw):
        super().__init__(*specs, **kw)
        self.vit["bias"] = nnx.Linear(1, 8, use_bias=False, rngs=kw["rngs"])

    def features(self, x):
        added = self.vit["bias"](jnp.ones((1, 1)))
        return super().features(x + added - added)


class MissesAPart(Sound):
    parts = ("resnet", "vit")


class HidesAPart(Sound):
    parts = ()


class RenamesAPart(Sound):
    def __init__(self, resnet_spec, vit_spec, **kw):
        super().__init__(resnet_spec, vit_spec, **kw)
        self.vit["patch_projection"] = nnx.Linear(3, 5, rngs=kw["rngs"])


class MixesExamples(Sound):
    def features(self, x):
        return super().features(x - x.mean(0))


class IgnoresTheImage(Sound):
    def features(self, x):
        return super().features(jnp.zeros_like(x))


class FloorsItsSize(Sound):
    def cells(self, images, **kw):
        H, W = (side // 16 * 16 for side in images.shape[1:3])
        return super().cells(images[:, :H, :W], **kw)


class PromisesOtherChannels(Sound):
    def __init__(self, *specs, **kw):
        super().__init__(*specs, **kw)
        self.channels = {16: 9}


class PromisesOtherStrides(Sound):
    def __init__(self, *specs, **kw):
        super().__init__(*specs, **kw)
        self.channels = {8: 8, 16: 8}


class GivesCoarseFirst(Sound):
    def __init__(self, *specs, **kw):
        super().__init__(*specs, **kw)
        self.channels = {32: 8, 16: 8}

    def features(self, x):
        return Features(maps={32: x[:, ::2, ::2], 16: x}, pooled=x.mean((1, 2)))


class PoolsToAnotherWidth(Sound):
    def features(self, x):
        return Features(maps={16: x}, pooled=x.mean((1, 2))[:, :5])


class ForgetsTheDtype(Sound):
    def features(self, x):
        return super().features(x.astype(jnp.float32))


class ReturnsATuple(Sound):
    def features(self, x):
        return {16: x}, x.mean((1, 2))


class StoresARandomStream(Sound):
    def __init__(self, *specs, **kw):
        super().__init__(*specs, **kw)
        self.dropout = nnx.Dropout(0.5, rngs=nnx.Rngs(dropout=0))


class DropsInEvalMode(Sound):
    def cells(self, images, *, train, key):
        return super().cells(images, train=True, key=key)


class DropsWithoutTheKey(Sound):
    def cells(self, images, *, train, key):
        return super().cells(images, train=train, key=jax.random.key(0))


class DrawsInEvalMode(Sound):
    def cells(self, images, *, train, key):
        return super().cells(images, train=True, key=jax.random.key(0))


OWN_KEY = jax.random.key(0)


class DropsWithAKeyOfItsOwn(Sound):
    def cells(self, images, *, train, key):
        return super().cells(images, train=train, key=OWN_KEY)


class NeverDrops(Sound):
    def cells(self, images, *, train, key):
        if key is not None:
            jax.random.split(key)
        return super().cells(images, train=train, key=None)


class ScalesWithAKey(Sound):
    def cells(self, images, *, train, key):
        x = super().cells(images, train=train, key=key)
        return x if key is None else 2 * x


class StoresBfloat16(Sound):
    def __init__(self, resnet_spec, vit_spec, *, rngs, **kw):
        super().__init__(resnet_spec, vit_spec, rngs=rngs, **kw)
        self.vit["embed"] = nnx.Linear(
            3 * 256, 8, param_dtype=jnp.dtype(vit_spec.dtype), rngs=rngs
        )


class BreaksAtOtherSizes(Sound):
    def cells(self, images, **kw):
        x = super().cells(images, **kw)
        return x / (x.shape[1] - 5)  # 65 pixels make 5 cells


class ClaimsADonor(Sound):
    """Everything of the plain ViT, off by a factor that is not learned."""

    starts_as = "vit"

    def __init__(self, *specs, **kw):
        plain = FUSIONS.get("vit")(*specs, **kw)
        self.vit, self.channels, self.width = plain.vit, plain.channels, plain.width

    def __call__(self, images, *, train=False, key=None):
        tokens, pooled = self.vit(images, train=train, key=key)
        return Features(maps={16: tokens}, pooled=1.01 * pooled)


class ClaimsAPartItLacks(Sound):
    starts_as = "resnet"


CASES = [
    (IgnoresABranch, "check_gradient_reaches_everything", {}, "2 parameters, which noth"),
    (StopsAGradient, "check_everything_is_read", {}, "stopped: vit.embed"),
    (CancelsAParameter, "check_gradient_reaches_everything", {}, "1 parameters: vit.bias"),
    (MissesAPart, "check_gradient_reaches_everything", {}, "says it uses 'resnet'"),
    (MissesAPart, "check_names_are_stable", {}, "names 'resnet' but has no parameters"),
    (HidesAPart, "check_names_are_stable", {}, "does not name 'vit' but has parameters"),
    (RenamesAPart, "check_names_are_stable", {}, "patch_projection"),
    (MixesExamples, "check_examples_do_not_mix", {}, "example 1 changes example 0's"),
    (IgnoresTheImage, "check_examples_do_not_mix", {}, "do not see the image"),
    (FloorsItsSize, "check_contract", dict(hw=(97, 131)), "expected (2, 7, 9, 8), got"),
    (PromisesOtherChannels, "check_contract", {}, "expected (2, 4, 6, 9), got"),
    (PromisesOtherStrides, "check_contract", {}, "`channels` promises strides [8, 16]"),
    (GivesCoarseFirst, "check_contract", {}, "maps are not fine to coarse: [32, 16]"),
    (PoolsToAnotherWidth, "check_contract", {}, "pooled: expected (2, 8), got (2, 5)"),
    (ForgetsTheDtype, "check_contract", dict(dtype="bfloat16"), "map at stride 16 is fl"),
    (ReturnsATuple, "check_contract", {}, "is not Features"),
    (StoresARandomStream, "check_holds_only_parameters_and_statistics", {}, "holds ['R"),
    (DropsInEvalMode, "check_eval_is_deterministic", {}, "train=False with a key depends"),
    (DrawsInEvalMode, "check_eval_is_deterministic", {}, "draws random numbers: ('rand"),
    (DropsWithoutTheKey, "check_drops_follow_the_key", {}, "draws without the key: ('ran"),
    (DropsWithAKeyOfItsOwn, "check_drops_follow_the_key", {}, "key: ('constant key<fry>"),
    (NeverDrops, "check_drops_follow_the_key", {}, "drop_path ignores the key"),
    (ScalesWithAKey, "check_jit_equals_eager", {}, "jit or a key changes map at stride"),
    (StoresBfloat16, "check_parameters_are_float32", {}, "is stored as bfloat16"),
    (BreaksAtOtherSizes, "check_examples_do_not_mix", {}, "not finite"),
    (ClaimsADonor, "check_starts_as_its_donor", {}, "pooled is not the fresh vit's"),
    (ClaimsAPartItLacks, "check_starts_as_its_donor", {}, "which it does not have"),
]


@pytest.mark.parametrize(
    ("broken", "check", "options", "message"),
    CASES,
    ids=[f"{case[0].__name__}-{case[1]}" for case in CASES],
)
def test_guarantee_catches(broken, check, options, message):
    with pytest.raises(AssertionError, match=re.escape(message)):
        getattr(guarantees, check)(broken, **options)


def test_a_file_in_the_package_is_registered_without_being_listed(tmp_path, monkeypatch):
    package = tmp_path / "strange_fusions"
    package.mkdir()
    (package / "__init__.py").write_text(
        "from hybrid_jax.registry import Registry\n"
        "FUSIONS = Registry('fusion', package='strange_fusions')\n"
    )
    (package / "mine.py").write_text(
        "from strange_fusions import FUSIONS\n@FUSIONS.register('mine')\nclass Mine: ...\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert Registry("fusion", package="strange_fusions").names() == ()
    from strange_fusions import FUSIONS as strange

    assert strange.names() == ("mine",)


def test_a_registered_fusion_is_found_by_name_and_leaves_no_trace(monkeypatch):
    entries = {name: FUSIONS.get(name) for name in FUSIONS.names()}
    monkeypatch.setattr(FUSIONS, "_entries", entries)
    FUSIONS.register("sound")(Sound)
    assert "sound" in FUSIONS.names()
    images = jax.ShapeDtypeStruct((2, 64, 96, 3), jnp.float32)
    outputs = jax.eval_shape(
        lambda x: create_model("vit_s16", num_classes=7, fusion="sound")(x), images
    )
    assert outputs.logits.shape == (2, 7)
    monkeypatch.undo()
    with pytest.raises(UserError, match="unknown fusion 'sound'"):
        FUSIONS.get("sound")
