"""What the README tells people to type, in its order, and how tests cut it short."""

import dataclasses
import pathlib
import re
import shlex

import documents
import drawn_tree
import numpy as np
from PIL import Image

# A ResNet of two stages and a ViT of one block, on small images.
TINY = {
    "data.image_size": 32,
    "model.resnet_options.blocks": "(1,1)",
    "model.resnet_options.width": 32,
    "model.vit_options.depth": 1,
    "model.vit_options.width": 32,
    "model.vit_options.num_heads": 2,
    "model.vit_options.mlp_dim": 32,
    "model.fusion_options.sequential.stride": 8,
}
# So that a coupled pair of branches compiles in a minute.
FEW_BLOCKS = {"model.resnet_options.blocks": "(1,1)", "model.vit_options.depth": 2}
ONE_STEP = {"train.steps": 1, "train.batch_size": 4, "log.tensorboard": False}
# The Python of the README at the same size, in the options of `create_model`.
TINY_MODEL = dict(
    resnet_options=dict(blocks=(1, 1), width=32),
    vit_options=dict(depth=1, width=32, num_heads=2, mlp_dim=32),
    fusion_options=dict(sequential=dict(stride=8)),
)


@dataclasses.dataclass(frozen=True)
class Step:
    """How one command is run.

    Attributes:
        changes: keys of the config, for a run of one step with `-m slow`.
        tiny: more of them for the default suite; None if it runs with `-m slow` only.
        needs: the command of a run that the README says there is, in the same words.
    """

    changes: dict | None = None
    tiny: dict | None = None
    needs: str = ""


MAIN = "python -m hybrid_jax.main --config=configs/"
BCCD = f"{MAIN}bccd_fcos.py:voc=/data/BCCD"
# As many as the tree of docs/data.md has.
_ONE_IMAGE = {"train.steps": 1, "train.batch_size": 1}
# Command -> how it is cut short. The first two are what CI does before it runs any test.
STEPS = {
    "python3 -m venv .venv && source .venv/bin/activate": Step(),
    "pip install -e .": Step(),
    f"{MAIN}r26_vit_b16.py": Step(ONE_STEP, TINY),
    f"{MAIN}r26_vit_b16.py --mode=predict --input=photos/": Step(ONE_STEP, TINY),
    f"{MAIN}r26_vit_b16.py --mode=explain --input=photos/": Step(ONE_STEP, TINY),
    "python -m hybrid_jax.main --help": Step(tiny={}),
    f"{MAIN}r26_vit_s16.py:folder=/data/birds,size=224,fusion=conformer": Step(
        {"train.steps": 1, "train.batch_size": 2} | FEW_BLOCKS
    ),
    f"{MAIN}shapes_detection.py": Step({"train.steps": 1, "train.batch_size": 2}),
    f"{BCCD} --mode=check": Step(tiny={}),
    f"{BCCD} --mode=predict --input=photos/": Step(_ONE_IMAGE, needs=BCCD),
}


def commands() -> list[str]:
    """Returns the commands of the README in their order, without comments."""
    lines = "".join(documents.blocks(documents.PAGES["README.md"], "bash")).splitlines()
    return [re.sub(r"\s+#.*", "", line).strip() for line in lines if line.strip()]


def words(command: str, changes: dict, *, data: pathlib.Path) -> list[str]:
    """Returns the words of a command with keys changed and its data below `data`."""
    found = shlex.split(command.replace("/data/", f"{data}/"))
    return found + [f"--config.{key}={value}" for key, value in changes.items()]


def make_folder(folder: pathlib.Path) -> pathlib.Path:
    """Puts what the README's commands read below `folder`; returns where the data lies."""
    (folder / "configs").symlink_to(documents.ROOT / "configs")
    (folder / "photos").mkdir()
    for name in ("a", "b"):
        noise = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
        Image.fromarray(noise).save(folder / "photos" / f"{name}.jpg")
    trees = re.findall(
        r"^```text\n(/data.*?)^```", documents.PAGES["docs/data.md"], re.M | re.S
    )
    for place in ("/data/birds", "/data/BCCD"):
        (drawing,) = [tree for tree in trees if tree.splitlines()[0] == place]
        drawn_tree.make(drawing, folder)
    return folder / "data"
