# shellcheck shell=bash disable=SC2154 # tpu_pod.sh sets the options
# TPU slices by the Cloud TPU API's queued resources, for tpu_pod.sh. Sourced, never run.

check_options() {
  if [[ $1 == create ]]; then
    need --accelerator-type "$accelerator_type" "such as v5litepod-16"
    need --runtime-version "$runtime_version" "such as v2-alpha-tpuv5-lite"
  fi
}

create_machines() {
  local nodes=("--node-id=$name") spot_flags=()
  if ((num_slices > 1)); then nodes=("--node-count=$num_slices" "--node-prefix=$name"); fi
  if $spot; then spot_flags=(--spot); fi
  cloud compute tpus queued-resources create "$name" --zone="$zone" \
    --accelerator-type="$accelerator_type" --runtime-version="$runtime_version" \
    --scopes=https://www.googleapis.com/auth/cloud-platform \
    "${nodes[@]}" "${spot_flags[@]}" "${create_flags[@]}"
}

# Prints ABSENT, WAITING, ACTIVE, GONE (to be deleted and created again) or UNKNOWN.
machines_state() {
  local answer
  if ! answer=$(cloud compute tpus queued-resources describe "$name" --zone="$zone" \
    --format='value(state.state)' 2>&1); then
    if [[ $answer == *NOT_FOUND* ]]; then echo ABSENT; else echo UNKNOWN; fi
    return
  fi
  case $answer in
    *ACTIVE*) echo ACTIVE ;;
    *FAILED* | *SUSPENDED*) echo GONE ;;
    *) echo WAITING ;;
  esac
}

describe_machines() {
  cloud compute tpus queued-resources describe "$name" --zone="$zone"
}

on_every_host() {
  cloud compute tpus queued-resources ssh "$name" --zone="$zone" --node=all --worker=all \
    --command="$1"
}

on_first_host() {
  cloud compute tpus queued-resources ssh "$name" --zone="$zone" --node=0 --worker=0 \
    --command="$1"
}

delete_machines() {
  cloud compute tpus queued-resources delete "$name" --zone="$zone" --force --quiet
}
