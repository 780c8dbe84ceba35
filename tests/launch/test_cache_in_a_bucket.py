"""HJ_CACHE may name a bucket: JAX then keeps compiled programs there."""

import os
import subprocess
import sys

from stub_programs import TIMEOUT

# The file system of gs:// is replaced by one in memory; etils and JAX are real.
PROGRAM = """
import os
import fsspec
from fsspec.implementations.memory import MemoryFileSystem

class Bucket(MemoryFileSystem):
    protocol = ("gs", "gcs")
    store, pseudo_dirs = {}, [""]

for name in Bucket.protocol:
    fsspec.register_implementation(name, Bucket, clobber=True)
import jax, jax.numpy as jnp
from hybrid_jax.main import _compilation_cache

jax.config.update("jax_compilation_cache_dir", _compilation_cache())
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
jax.jit(lambda x: jnp.sin(x) @ x)(jnp.ones((8, 8))).block_until_ready()
print(*Bucket.store)
"""


def test_compiled_programs_go_to_a_bucket():
    variables = {"HJ_CACHE": "gs://b/hybrid_jax/xla", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=True,
    )
    kept = [name for name in done.stdout.split() if name.endswith("-cache")]
    assert any("b/hybrid_jax/xla/jit_" in name for name in kept), done.stdout + done.stderr
