#!/usr/bin/env bash
# Makes TPU slices and trains on all of their hosts.
#
#   bash launch/tpu_pod.sh VERB NAME --zone=ZONE [OPTION...] [-- RUN FLAGS]
#
#   create   asks for the machines
#   run      copies this checkout, starts hybrid_jax.main on every host with RUN FLAGS
#   status   the machines' state; with -- --workdir=... how the run ended on each host
#   logs     follows the first host's log; --all-hosts shows the end of every host's
#   stop     asks the run to save and end; the machines stay, and go on costing
#   delete   deletes the machines: only this ends the cost
#
#   bash launch/tpu_pod.sh create pod --zone=us-west4-a --accelerator-type=v5litepod-16 \
#     --runtime-version=v2-alpha-tpuv5-lite --num-hosts=4
#   bash launch/tpu_pod.sh run pod --zone=us-west4-a --num-hosts=4 -- \
#     --config=configs/r26_vit_b16.py:imagenet2012 --workdir=gs://my-bucket/runs/first
#
# Options, the same ones for every verb:
#   --backend=queued-resources   (default) the Cloud TPU API, up to v6e
#   --backend=mig                a managed instance group of Compute Engine: v5p, v6e, TPU7x
#   --project=P --num-hosts=N (hosts of one slice) --num-slices=N (default 1)
#   --spot                       preemptible machines; `run` stays here and watches, creates
#                                the machines (again) and continues in the same workdir
#   --max-restarts=50            of --spot
#   --delete-when-done           `run` stays here, and deletes the machines after the run
#   --cache=gs://...             compiled programs (default: hybrid_jax/xla in the bucket)
#   --accelerator-type= --runtime-version=                        queued-resources
#   --machine-type= --topology= --image-family= --image-project=  mig
#   --create-flag=FLAG           given to gcloud's create as it is; may be repeated
#   --dry-run                    anywhere on the line: prints the commands, runs nothing
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=launch/command_line.sh
source "$here/command_line.sh"
# shellcheck source=launch/source_archive.sh
source "$here/source_archive.sh"
# shellcheck source=launch/restarts.sh
source "$here/restarts.sh"

need() {
  if [[ -z $2 ]]; then fail "$1 is missing: $3. --help lists the options."; fi
}

# gcloud, in the chosen project.
cloud() {
  do_it gcloud "$@" ${project:+"--project=$project"}
}

parse() {
  backend=queued-resources zone="" project="" num_hosts="" num_slices=1 spot=false
  max_restarts=50 delete_when_done=false cache="" all_hosts=false create_flags=()
  accelerator_type="" runtime_version="" machine_type="" topology="" image_family=""
  image_project="" run_words=()
  read_words "$0" "$@"
  if ((${#words[@]} < 2)); then usage "$0" >&2 && exit 2; fi
  verb=${words[0]} name=${words[1]}
  set -- "${words[@]:2}"
  while (($#)); do
    case $1 in
      --backend=*) backend=${1#*=} ;;
      --zone=*) zone=${1#*=} ;;
      --project=*) project=${1#*=} ;;
      --num-hosts=*) num_hosts=${1#*=} && whole_number --num-hosts "$num_hosts" ;;
      --num-slices=*) num_slices=${1#*=} && whole_number --num-slices "$num_slices" ;;
      --max-restarts=*) max_restarts=${1#*=} && whole_number --max-restarts "$max_restarts" ;;
      --spot) spot=true ;;
      --delete-when-done) delete_when_done=true ;;
      --all-hosts) all_hosts=true ;;
      --cache=*) cache=${1#*=} ;;
      --accelerator-type=*) accelerator_type=${1#*=} ;;
      --runtime-version=*) runtime_version=${1#*=} ;;
      --machine-type=*) machine_type=${1#*=} ;;
      --topology=*) topology=${1#*=} ;;
      --image-family=*) image_family=${1#*=} ;;
      --image-project=*) image_project=${1#*=} ;;
      --create-flag=*) create_flags+=("${1#*=}") ;;
      --) shift && run_words=("$@") && break ;;
      *) fail "$1 is no option of tpu_pod.sh. Flags of the run follow a --; see --help." ;;
    esac
    shift
  done
}

check() {
  if [[ ! $name =~ ^[a-z]([-a-z0-9]*[a-z0-9])?$ ]]; then
    fail "the name: got '$name', expected small letters, digits and -."
  fi
  need --zone "$zone" "such as us-west4-a"
  if [[ $backend == queued-resources ]]; then
    # shellcheck source=launch/queued_resources.sh
    source "$here/queued_resources.sh"
  elif [[ $backend == mig ]]; then
    # shellcheck source=launch/managed_instance_group.sh
    source "$here/managed_instance_group.sh"
  else
    fail "--backend: got '$backend', expected queued-resources or mig."
  fi
  check_options "$verb"
}

create() {
  create_machines
  say "a machine costs from when it is there until 'delete', whether it works or not"
}

# Every host is told how many processes the run must have.
start_on_hosts() {
  local variables command
  variables=(HJ_DISTRIBUTED=1 "HJ_EXPECTED_PROCESSES=$((num_hosts * num_slices))"
    "HJ_CACHE=$cache")
  command=$(quoted bash hybrid_jax/on_host.sh "$folder" "${variables[@]}" -- "${run_words[@]}")
  on_every_host "mkdir -p hybrid_jax && $(quoted gcloud storage cp "$folder/on_host.sh" \
    hybrid_jax/on_host.sh) && { nohup setsid $command >> hybrid_jax/host.log 2>&1 </dev/null & }"
}

run() {
  local workdir watched=$spot outcome=""
  if $delete_when_done; then watched=true; fi
  workdir=$(bucket_workdir "${run_words[@]}")
  need --num-hosts "$num_hosts" "the hosts of one slice, which must all join the run"
  folder=$workdir/launch
  cache=${cache:-$(bucket_cache "$workdir")}
  if $spot; then check_options create; fi
  if $watched && ! $dry_run; then
    upload_source "$folder"
    watch
  else
    if $spot; then create_machines; fi
    upload_source "$folder"
    forget_ends
    start_on_hosts
    say "started; 'logs' shows how it goes on, 'delete' ends the cost"
  fi
  if $delete_when_done; then delete_machines; fi
  if [[ $outcome == failed ]]; then exit 1; fi
}

status() {
  describe_machines
  if [[ -n $(value_of --workdir "${run_words[@]}") ]]; then
    folder=$(bucket_workdir "${run_words[@]}")/launch
    ends
  fi
}

logs() {
  if $all_hosts; then
    on_every_host "tail -n 20 hybrid_jax/host.log hybrid_jax/run.log"
  else
    on_first_host "tail -n 100 -F hybrid_jax/host.log hybrid_jax/run.log"
  fi
}

stop() {
  # shellcheck disable=SC2016
  on_every_host 'touch hybrid_jax/asked_to_stop; kill -TERM "$(cat hybrid_jax/pid)"'
  say "asked to save and end; the machines go on costing until 'delete'"
}

parse "$@"
check
case $verb in
  create | run | status | logs | stop) "$verb" ;;
  delete) delete_machines ;;
  *) fail "the verb: got '$verb', expected create, run, status, logs, stop or delete." ;;
esac
