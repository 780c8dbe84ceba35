#!/usr/bin/env bash
# Trains with several processes on this machine, as a pod would: a rehearsal for launching
# on many hosts.
#
#   bash launch/local_processes.sh 2 --config=configs/tiny.py:shapes --workdir=runs/two
#
# The first argument is the number of processes, the rest goes to hybrid_jax.main. Stops all
# of them when one fails.
set -euo pipefail

if [[ $# -lt 2 || ! $1 =~ ^[1-9][0-9]*$ ]]; then
  sed -n '2,9s/^# \{0,1\}//p' "$0" >&2
  exit 2
fi
count=$1
shift

port=$(python -c 'import socket; s = socket.socket(); s.bind(("", 0)); print(s.getsockname()[1])')
export HJ_COORDINATOR="localhost:$port" HJ_NUM_PROCESSES="$count"
trap 'kill $(jobs -p) 2>/dev/null || true' EXIT
for ((index = 0; index < count; index++)); do
  HJ_PROCESS_ID=$index python -m hybrid_jax.main "$@" &
done
for ((index = 0; index < count; index++)); do
  wait -n
done
