# shellcheck shell=bash
# What the launch scripts share: usage, errors, --dry-run, quoting, checks of the workdir.
# Sourced, never run.

# Prints the comment at the top of a script, which is its manual.
usage() {
  awk 'NR > 1 && !/^#/ { exit } NR > 1 && !/^#SBATCH/ { sub(/^# ?/, ""); print }' "$1"
}

fail() {
  echo "error: $*" >&2
  exit 2
}

say() {
  if ${dry_run:-false}; then return; fi
  echo "$(basename "$0"): $*" >&2
}

# read_words SCRIPT WORD...: sets `dry_run` and `words`, which is all words but --dry-run.
# Shows the manual and exits for --help before the run's own words, which follow "--".
read_words() {
  local script=$1 word own=true
  shift
  dry_run=false words=()
  for word in "$@"; do
    case $word in
      --dry-run) dry_run=true ;;
      --help | -h)
        if $own; then usage "$script" && exit 0; fi
        words+=("$word")
        ;;
      *)
        if [[ $word == -- ]]; then own=false; fi
        words+=("$word")
        ;;
    esac
  done
}

# Runs a command, or prints it as it could be pasted into a shell.
do_it() {
  if $dry_run; then
    quoted "$@"
  else
    "$@"
  fi
}

# Prints words so that a shell reads them back unchanged.
quoted() {
  local line
  printf -v line '%q ' "$@"
  echo "${line% }"
}

# value_of FLAG WORD...: prints the value of --FLAG=VALUE or --FLAG VALUE among the words.
value_of() {
  local flag=$1
  shift
  while (($#)); do
    case $1 in
      "$flag="*) echo "${1#*=}" && return ;;
      "$flag") echo "${2-}" && return ;;
    esac
    shift
  done
}

# The workdir of a run whose machines may vanish: it must outlive them.
bucket_workdir() {
  local workdir
  workdir=$(value_of --workdir "$@")
  if [[ $workdir != gs://*/* ]]; then
    fail "--workdir: got '${workdir}', expected a folder of a bucket, such as" \
      "gs://my-bucket/runs/first: all hosts write there, and it must outlive them." \
      "Put --workdir=gs://... after the --."
  fi
  echo "${workdir%/}"
}

# Compiled programs are shared by all runs of a bucket.
bucket_cache() {
  local bucket=${1#gs://}
  echo "gs://${bucket%%/*}/hybrid_jax/xla"
}

# whole_number NAME VALUE: fails unless the value is one from 1.
whole_number() {
  if [[ ! $2 =~ ^[1-9][0-9]*$ ]]; then
    fail "$1: got '$2', expected a whole number from 1."
  fi
}
