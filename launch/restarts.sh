# shellcheck shell=bash disable=SC2154 # tpu_pod.sh sets the options
# Watches a run of tpu_pod.sh and brings it back after a preemption: the machines are deleted
# and created again, and the same command goes on in the same workdir. Sourced, never run.

poll_seconds=${HJ_POLL_SECONDS:-30}
# How often a run that failed on machines that look well is looked at again: hosts notice a
# lost neighbor before the cloud says that it is gone.
patience=5

# Prints how the run ended on the hosts that have ended, one line a host.
ends() {
  cloud storage cat "$folder/ends/*" 2>/dev/null || true
}

forget_ends() {
  cloud storage rm --recursive "$folder/ends" 2>/dev/null || true
}

# Counts a restart; the run has failed when there were too many.
count_restart() {
  restarts=$((restarts + 1))
  if ((restarts > max_restarts)); then
    say "gave up after $max_restarts restarts"
    outcome=failed
    return
  fi
  say "$1; restart $restarts of at most $max_restarts"
}

# Prints finished, stopped, ended (by failure or preemption) or running.
verdict() {
  local told finished
  told=$(ends)
  finished=$(grep -c '^finished$' <<<"$told") || true
  if grep -q '^stopped$' <<<"$told"; then
    echo stopped
  elif grep -q -E '^(failed|preempted)' <<<"$told"; then
    echo ended
  elif ((finished >= num_hosts * num_slices)); then
    echo finished
  else
    echo running
  fi
}

# Deals with a run that ended early on machines that are still there.
judge_early_end() {
  suspicion=$((suspicion + 1))
  if ((suspicion < patience)); then return; fi
  if ends | grep -q '^failed' && ! ends | grep -q '^preempted$'; then
    say "the run failed, and the machines are well: it is not tried again. See 'logs'."
    ends >&2
    outcome=failed
    return
  fi
  count_restart "the run was told to end, but the machines are well"
  started=false
}

# Starts the run, or sees how it is.
tend() {
  if ! $started; then
    forget_ends
    if start_on_hosts; then
      started=true suspicion=0
      say "started; ends are looked for every $poll_seconds s"
    else
      say "the hosts do not answer yet"
    fi
    return
  fi
  case $(verdict) in
    finished) outcome=finished ;;
    stopped) outcome=stopped ;;
    ended) judge_early_end ;;
  esac
}

# Returns when the run has ended; sets `outcome` to finished, stopped or failed.
watch() {
  local state before=""
  restarts=0 suspicion=0 started=false outcome=""
  trap 'say "no longer watched; the run and its cost go on. The same line watches again."
    exit 130' INT TERM
  while [[ -z $outcome ]]; do
    state=$(machines_state)
    if [[ $state != "$before" ]]; then say "machines: $state"; fi
    before=$state
    case $state in
      ABSENT) create_machines || count_restart "the machines could not be created" ;;
      GONE)
        count_restart "the machines are gone"
        started=false
        delete_machines || say "deletion failed; tried again in $poll_seconds s"
        ;;
      ACTIVE) tend ;;
    esac
    if [[ -z $outcome ]]; then sleep "$poll_seconds"; fi
  done
  trap - INT TERM
  say "the run has ended: $outcome"
}
