# shellcheck shell=bash
# Brings the source to a bucket, from where every host takes it. Sourced, never run.

# Not copied; launch/Dockerfile.dockerignore lists the same.
not_copied=(.git runs build dist .venv '*.egg-info' __pycache__ '*.pyc' .pytest_cache
  .ruff_cache .import_linter_cache .grimp_cache .ipynb_checkpoints)

# upload_source FOLDER: makes FOLDER/source.tar.gz and FOLDER/on_host.sh in a bucket.
upload_source() {
  local folder=$1 root archive pattern excludes=()
  root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
  archive=${TMPDIR:-/tmp}/hybrid_jax_source.$$.tar.gz
  for pattern in "${not_copied[@]}"; do excludes+=("--exclude=$pattern"); done
  do_it tar -czf "$archive" -C "$root" "${excludes[@]}" .
  cloud storage cp "$archive" "$folder/source.tar.gz"
  cloud storage cp "$root/launch/on_host.sh" "$folder/on_host.sh"
  do_it rm -f "$archive"
}
