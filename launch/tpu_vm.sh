#!/usr/bin/env bash
# Starts the same command on every host of a Cloud TPU VM slice that already exists.
#
#   bash launch/tpu_vm.sh NAME ZONE [--dry-run] --config=… --workdir=gs://…
#
# Copies this checkout to all hosts, installs it and starts the run under nohup, so that it
# outlives this terminal; logs are in ~/hybrid_jax.log of each host. --dry-run prints the
# commands instead of running them.
set -euo pipefail

if [[ $# -lt 3 ]]; then
  sed -n '2,9s/^# \{0,1\}//p' "$0" >&2
  exit 2
fi
name=$1 zone=$2
shift 2
run=()
if [[ $1 == --dry-run ]]; then
  run=(printf '%q ')
  shift
fi
do_it() {
  "${run[@]}" "$@"
  if [[ ${#run[@]} -gt 0 ]]; then echo; fi
}

quoted=$(printf '%q ' "$@")
do_it gcloud compute tpus tpu-vm scp --recurse . "$name:hybrid_jax" --zone="$zone" --worker=all
remote="cd hybrid_jax && pip install --quiet -e '.[tpu,gcs]' && \
{ HJ_DISTRIBUTED=1 nohup python3 -m hybrid_jax.main $quoted > ~/hybrid_jax.log 2>&1 < /dev/null & }"
do_it gcloud compute tpus tpu-vm ssh "$name" --zone="$zone" --worker=all --command="$remote"
