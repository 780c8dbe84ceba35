#!/usr/bin/env bash
# Trains on TPU slices of a GKE cluster that exists, by a JobSet or by xpk.
#
#   bash launch/gke.sh VERB NAME [OPTION...] [-- RUN FLAGS]
#
#   run      starts hybrid_jax.main on every host with RUN FLAGS
#   status   the state of the job and its pods
#   logs     follows the log of the first host
#   stop     asks the run to save and end, and removes the job; the cluster stays
#
#   bash launch/gke.sh run first --image=IMAGE --accelerator=tpu-v5-lite-podslice \
#     --topology=4x4 --num-hosts=4 --chips-per-host=4 -- \
#     --config=configs/r26_vit_b16.py:imagenet2012 --workdir=gs://my-bucket/runs/first
#
# Options:
#   --image=IMAGE           made from launch/Dockerfile
#   --accelerator= --topology= --num-hosts= (of one slice) --chips-per-host=    of `run`
#   --num-slices=1          GKE sets the MEGASCALE variables of several slices
#   --spot                  only on spot nodes; a preempted run is started again in any case
#   --grace=25              seconds to save in after SIGTERM (spot machines have about 25)
#   --max-restarts=50
#   --cache=gs://...        compiled programs (default: hybrid_jax/xla in the bucket)
#   --cluster=CLUSTER       uses xpk, in a cluster that xpk made, instead of kubectl;
#                           with --tpu-type= (such as v5litepod-16) --num-hosts= --zone=
#                           --project= in place of --accelerator, --topology, --chips-per-host
#   --dry-run               anywhere on the line: prints the commands, runs nothing
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=launch/command_line.sh
source "$here/command_line.sh"

need() {
  if [[ -z $2 ]]; then fail "$1 is missing. --help lists the options."; fi
}

parse() {
  image="" accelerator="" topology="" num_hosts="" num_slices=1 chips_per_host="" spot=false
  grace=25 max_restarts=50 cache="" cluster="" tpu_type="" zone="" project="" run_words=()
  read_words "$0" "$@"
  if ((${#words[@]} < 2)); then usage "$0" >&2 && exit 2; fi
  verb=${words[0]} name=${words[1]}
  set -- "${words[@]:2}"
  while (($#)); do
    case $1 in
      --image=*) image=${1#*=} ;;
      --accelerator=*) accelerator=${1#*=} ;;
      --topology=*) topology=${1#*=} ;;
      --num-hosts=*) num_hosts=${1#*=} && whole_number --num-hosts "$num_hosts" ;;
      --num-slices=*) num_slices=${1#*=} && whole_number --num-slices "$num_slices" ;;
      --chips-per-host=*) chips_per_host=${1#*=} && whole_number "${1%%=*}" "${1#*=}" ;;
      --spot) spot=true ;;
      --grace=*) grace=${1#*=} && whole_number --grace "$grace" ;;
      --max-restarts=*) max_restarts=${1#*=} && whole_number --max-restarts "$max_restarts" ;;
      --cache=*) cache=${1#*=} ;;
      --cluster=*) cluster=${1#*=} ;;
      --tpu-type=*) tpu_type=${1#*=} ;;
      --zone=*) zone=${1#*=} ;;
      --project=*) project=${1#*=} ;;
      --) shift && run_words=("$@") && break ;;
      *) fail "$1 is no option of gke.sh. Flags of the run follow a --; see --help." ;;
    esac
    shift
  done
  if [[ ! $name =~ ^[a-z]([-a-z0-9]*[a-z0-9])?$ ]]; then
    fail "the name: got '$name', expected small letters, digits and -."
  fi
}

# Prints words as a list of JSON strings, which YAML reads too. To Kubernetes, which would
# replace $(NAME) by a variable, $$ is a $.
json_list() {
  local word text="" dollar="\$" kept="\$\$"
  for word in "$@"; do
    word=${word//\\/\\\\}
    word=${word//\"/\\\"}
    word=${word//$'\n'/\\n}
    word=${word//$'\t'/\\t}
    word=${word//"$dollar"/"$kept"}
    text+="${text:+, }\"$word\""
  done
  echo "[$text]"
}

# Prints the manifest, filled in.
manifest() {
  local text key spot_line=""
  text=$(<"$here/jobset.yaml")
  if $spot; then spot_line='cloud.google.com/gke-spot: "true"'; fi
  local -A words_for=(
    [NAME]=$name [IMAGE]=$image [ACCELERATOR]=$accelerator [TOPOLOGY]=$topology
    [NUM_SLICES]=$num_slices [NUM_HOSTS]=$num_hosts [CHIPS]=$chips_per_host
    [NUM_PROCESSES]=$((num_hosts * num_slices)) [MAX_RESTARTS]=$max_restarts
    [GRACE]=$grace [CACHE]=$cache [SPOT]=$spot_line
  )
  for key in "${!words_for[@]}"; do text=${text//"@$key@"/"${words_for[$key]}"}; done
  echo "${text/"@ARGUMENTS@"/"$(json_list "${run_words[@]}")"}"
}

apply() {
  need --accelerator "$accelerator"
  need --topology "$topology"
  need --chips-per-host "$chips_per_host"
  if $dry_run; then
    echo "kubectl apply -f - <<'EOF'"
    manifest
    echo EOF
  else
    manifest | kubectl apply -f -
  fi
}

# xpk runs one line of shell in the image, past its entry point.
xpk_create() {
  local line
  need --tpu-type "$tpu_type"
  line=$(quoted env HJ_DISTRIBUTED=1 "HJ_EXPECTED_PROCESSES=$((num_hosts * num_slices))" \
    "HJ_CACHE=$cache" python launch/report_end.py python -m hybrid_jax.main "${run_words[@]}")
  xpk_do workload create --workload="$name" --tpu-type="$tpu_type" \
    --num-slices="$num_slices" --docker-image="$image" --max-restarts="$max_restarts" \
    --command="$line"
}

xpk_do() {
  if ! $dry_run && ! command -v xpk >/dev/null; then
    fail "--cluster needs xpk, which is not installed (pip install xpk). Without" \
      "--cluster, kubectl is used."
  fi
  do_it xpk "$@" --cluster="$cluster" ${zone:+"--zone=$zone"} ${project:+"--project=$project"}
}

run() {
  local workdir
  workdir=$(bucket_workdir "${run_words[@]}")
  need --image "$image"
  need --num-hosts "$num_hosts"
  cache=${cache:-$(bucket_cache "$workdir")}
  if [[ -n $cluster ]]; then xpk_create; else apply; fi
}

status() {
  if [[ -n $cluster ]]; then
    xpk_do workload list --filter-by-job="$name"
  else
    do_it kubectl get jobset "$name"
    do_it kubectl get pods --selector="jobset.sigs.k8s.io/jobset-name=$name" --output=wide
  fi
}

logs() {
  local first="jobset.sigs.k8s.io/jobset-name=$name,jobset.sigs.k8s.io/job-index=0"
  first+=,batch.kubernetes.io/job-completion-index=0
  do_it kubectl logs --follow --tail=100 --selector="$first"
}

stop() {
  if [[ -n $cluster ]]; then
    xpk_do workload delete --workload="$name"
  else
    do_it kubectl delete jobset "$name"
  fi
}

parse "$@"
case $verb in
  run | status | logs | stop) "$verb" ;;
  *) fail "the verb: got '$verb', expected run, status, logs or stop." ;;
esac
