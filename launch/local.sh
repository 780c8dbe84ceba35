#!/usr/bin/env bash
# Trains with several processes on this machine, as a pod would: a rehearsal for launching
# on many hosts.
#
#   bash launch/local.sh N [--grace=10] [--dry-run] [--] --config=... --workdir=...
#
#   bash launch/local.sh 2 --config=configs/tiny.py:shapes --workdir=runs/two
#
# N is the number of processes; all that follows goes to hybrid_jax.main. When one process
# fails, the others are asked to end and are killed --grace seconds later; the exit status
# is that of the first failure. SIGTERM is passed on, Ctrl-C too, as SIGTERM, which several
# processes can answer (the run saves and ends); a second one kills. No process is left, even
# if this script is killed with SIGKILL (on Linux; see launch/guard.py). HJ_PYTHON is the
# Python to use (default: python).
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=launch/command_line.sh
source "$here/command_line.sh"

python=${HJ_PYTHON:-python}
grace=10
guards=()
first_failure=0
interrupted=0 # or the status that shells expect after a Ctrl-C

parse() {
  read_words "$0" "$@"
  if ((${#words[@]} < 2)); then
    usage "$0" >&2
    exit 2
  fi
  count=${words[0]}
  whole_number "the number of processes" "$count"
  words=("${words[@]:1}")
  if [[ ${words[0]} == --grace=* ]]; then
    grace=${words[0]#*=}
    whole_number --grace "$grace"
    words=("${words[@]:1}")
  fi
  if [[ ${words[0]-} == -- ]]; then words=("${words[@]:1}"); fi
}

free_port() {
  "$python" -c 'import socket; s = socket.socket(); s.bind(("", 0)); print(s.getsockname()[1])'
}

start() {
  local index port=PORT command
  if ! $dry_run; then port=$(free_port); fi
  for ((index = 0; index < count; index++)); do
    command=(env "HJ_COORDINATOR=localhost:$port" "HJ_NUM_PROCESSES=$count"
      "HJ_EXPECTED_PROCESSES=$count" "HJ_PROCESS_ID=$index"
      "$python" "$here/guard.py" "$$" "$grace"
      "$python" -m hybrid_jax.main "${words[@]}")
    if $dry_run; then
      quoted "${command[@]}"
    else
      "${command[@]}" &
      guards+=($!)
    fi
  done
}

# Asks all processes that are left to end; if they were asked before, it kills them.
ask_all() {
  if ((${#guards[@]})); then kill -s TERM "${guards[@]}" 2>/dev/null || true; fi
}

# Forgets the processes that ended and keeps the status of the first failure.
collect() {
  local guard left=() status
  for guard in "${guards[@]}"; do
    if kill -0 "$guard" 2>/dev/null; then
      left+=("$guard")
    else
      status=0
      wait "$guard" || status=$?
      if ((status && !first_failure)); then first_failure=$status; fi
    fi
  done
  guards=("${left[@]}")
}

# Looks often rather than sleeping in `wait -n`, which some versions of bash miss an end in.
wait_for_all() {
  while ((${#guards[@]} && !first_failure)); do
    sleep 0.1 || true # a Ctrl-C ends it
    collect
  done
}

end_the_others() {
  local deadline=$((SECONDS + grace))
  ask_all
  while ((${#guards[@]} && SECONDS < deadline)); do
    sleep 0.1 || true
    collect
  done
  while ((${#guards[@]})); do
    ask_all
    sleep 0.1 || true
    collect
  done
}

parse "$@"
trap 'interrupted=130; ask_all' INT
trap ask_all TERM HUP
start
wait_for_all
end_the_others
exit $((first_failure ? first_failure : interrupted))
