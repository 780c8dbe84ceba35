# shellcheck shell=bash disable=SC2154 # tpu_pod.sh sets the options
# One TPU slice as a managed instance group of Compute Engine, for tpu_pod.sh. Sourced, never
# run.

region=${zone%-*}

check_options() {
  need --project "$project" "the group's policy is named by it"
  if ((num_slices > 1)); then
    fail "--num-slices: got $num_slices, expected 1 with --backend=mig: nothing sets the" \
      "MEGASCALE variables there. Use --backend=queued-resources or gke.sh."
  fi
  if [[ $1 == create ]]; then
    need --machine-type "$machine_type" "such as ct6e-standard-4t"
    need --topology "$topology" "such as 4x4"
    need --num-hosts "$num_hosts" "chips of the topology divided by chips of one machine"
    need --image-family "$image_family" "see Google's page 'TPU OS images'"
    need --image-project "$image_project" "see Google's page 'TPU OS images'"
  fi
}

create_machines() {
  local spot_flags=() policy=()
  if $spot; then
    spot_flags=(--provisioning-model=SPOT --instance-termination-action=STOP)
  fi
  cloud compute instance-templates create "$name" --machine-type="$machine_type" \
    --maintenance-policy=TERMINATE --image-family="$image_family" \
    --image-project="$image_project" \
    --scopes=https://www.googleapis.com/auth/cloud-platform \
    "${spot_flags[@]}" "${create_flags[@]}"
  if ((num_hosts > 1)); then
    cloud compute resource-policies create workload-policy "$name" --region="$region" \
      --type=HIGH_THROUGHPUT --accelerator-topology="$topology"
    policy=("--workload-policy=projects/$project/regions/$region/resourcePolicies/$name")
  fi
  cloud compute instance-groups managed create "$name" --region="$region" --zones="$zone" \
    --size="$num_hosts" --template="$name" --target-size-policy-mode=bulk \
    --target-distribution-shape=any-single-zone --instance-redistribution-type=none \
    --default-action-on-vm-failure=do-nothing "${policy[@]}"
}

list_machines() {
  cloud compute instance-groups managed list-instances "$name" --region="$region" "$@"
}

# Prints ABSENT, WAITING, ACTIVE, GONE (to be deleted and created again) or UNKNOWN.
machines_state() {
  local answer running
  if ! answer=$(list_machines --format='value(instanceStatus)' 2>&1); then
    if [[ $answer == *"not found"* ]]; then echo ABSENT; else echo UNKNOWN; fi
    return
  fi
  running=$(grep -c '^RUNNING$' <<<"$answer") || true
  if grep -q -E 'STOPPED|TERMINATED|SUSPENDED' <<<"$answer"; then
    echo GONE
  elif ((running > 0 && running == ${num_hosts:-running})); then
    echo ACTIVE
  else
    echo WAITING
  fi
}

describe_machines() {
  list_machines
}

instances() {
  if $dry_run; then
    list_machines --format='value(instance.basename())' >&2
    echo INSTANCE
  else
    list_machines --format='value(instance.basename())'
  fi
}

on_every_host() {
  local names instance jobs=() job status=0
  names=$(instances)
  for instance in $names; do
    cloud compute ssh "$instance" --zone="$zone" --command="$1" </dev/null &
    jobs+=($!)
  done
  for job in "${jobs[@]}"; do wait "$job" || status=$?; done
  return "$status"
}

on_first_host() {
  local names
  names=$(instances)
  cloud compute ssh "${names%%$'\n'*}" --zone="$zone" --command="$1"
}

# All three are tried, so that what half a creation left goes too; only the group costs.
delete_machines() {
  local status=0
  cloud compute instance-groups managed delete "$name" --region="$region" --quiet || status=$?
  cloud compute resource-policies delete "$name" --region="$region" --quiet || true
  cloud compute instance-templates delete "$name" --quiet || true
  return "$status"
}
