#!/usr/bin/env bash
# Runs on each host of a TPU slice, started by tpu_pod.sh: makes a Python environment, fetches
# the source, runs, and leaves a word about the end in the bucket.
#
#   bash on_host.sh FOLDER NAME=VALUE... -- WORD...
#
# FOLDER is <workdir>/launch, the NAMEs are environment variables of the run, the WORDs are
# for hybrid_jax.main. Everything local is in ~/hybrid_jax: run.log (the run's output),
# host.log (this script's), pid, end. FOLDER/ends/<host> gets one line: "finished",
# "preempted" (SIGTERM that nobody asked for by `tpu_pod.sh stop`), "stopped" or "failed
# <status>"; FOLDER/logs/ gets run.log.
set -euo pipefail

home=$HOME/hybrid_jax
python=$home/venv/bin/python
end="failed before the run began; see ~/hybrid_jax/host.log"

# Tells what became of the run, whatever ends this script.
tell() {
  echo "$(date -u +%FT%TZ) $end"
  echo "$end" >"$home/end"
  rm -f "$home/pid"
  gcloud storage cp "$home/end" "$folder/ends/$(hostname)" || true
  if [[ -e $home/run.log ]]; then
    gcloud storage cp "$home/run.log" "$folder/logs/$(hostname)-$(date -u +%FT%H%M%SZ).log" ||
      true
  fi
}

new_enough() {
  "$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

# TPU images may have Python 3.10; hybrid_jax needs 3.11. uv brings a Python of its own.
make_python() {
  if [[ -x $python ]]; then return; fi
  if new_enough python3; then
    python3 -m venv "$home/venv"
    return
  fi
  export PATH=$HOME/.local/bin:$PATH
  if ! command -v uv >/dev/null; then
    python3 -m pip install --quiet --user uv || curl -LsSf https://astral.sh/uv/install.sh | sh
  fi
  uv venv --seed --python 3.11 "$home/venv"
}

fetch_source() {
  rm -rf "$home/source"
  mkdir -p "$home/source"
  gcloud storage cp "$folder/source.tar.gz" "$home/source.tar.gz"
  tar -xzf "$home/source.tar.gz" -C "$home/source"
  "$python" -m pip install --quiet -e "$home/source[tpu,gcs]"
}

run() {
  local status=0
  if [[ -e $home/asked_to_stop ]]; then
    end=stopped
    return
  fi
  cd "$home/source"
  # The process id is that of report_end.py, which passes on what `tpu_pod.sh stop` sends.
  # shellcheck disable=SC2016
  env "${variables[@]}" PYTHONUNBUFFERED=1 bash -c 'echo $$ >"$0" && exec "$@"' "$home/pid" \
    "$python" launch/report_end.py --log="$home/run.log" \
    "$python" -m hybrid_jax.main "${words[@]}" || status=$?
  if [[ -e $home/asked_to_stop ]]; then
    end=stopped
  elif ((status == 143)); then
    end=preempted
  elif ((status)); then
    end="failed $status"
  else
    end=finished
  fi
}

folder=$1
shift
variables=()
while [[ $1 != -- ]]; do
  variables+=("$1")
  shift
done
shift
words=("$@")

mkdir -p "$home"
exec 9>"$home/lock"
if ! flock --nonblock 9; then
  echo "a run is in progress on this host; it goes on"
  exit 0
fi
echo "$(date -u +%FT%TZ) starting"
trap : TERM INT # the machine is going down: the run answers, then its end is told
trap tell EXIT
rm -f "$home/asked_to_stop"
make_python
fetch_source
run
