"""The flags and modes of `python -m hybrid_jax.main`."""
