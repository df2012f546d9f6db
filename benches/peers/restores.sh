# From a request to a running process, for images of different sizes, and a hundred of them. Beside it: `ctr run` of the same image.
# shellcheck shell=bash disable=SC2154

RESTORES=10
MANY=100
# What the daemon does at once.
AT_ONCE=8
# What an image of 10 GB takes while it is made, and containerd's two copies of it.
HUGE_FREE_KIB=$((35 << 20))

restores() {
  local megabytes free sizes=(1 100 2000)
  [[ $CORPUS != small ]] || sizes=(1 100)
  free=$(df --output=avail "$work" | tail -n 1)
  ((free < HUGE_FREE_KIB)) || [[ $CORPUS == small ]] || sizes=(10000 "${sizes[@]}")
  start_host "$work/host" containerd
  for megabytes in "${sizes[@]}"; do
    mkdir "$work/layer"
    noise "$megabytes" >"$work/layer/noise"
    import "bench/size:$megabytes" "$(scripts/rootfs busybox)" "$work/layer"
    rm -rf "$work/layer"
    run_idle "bench/size:$megabytes" source
    snapctl create source --name "size-$megabytes" >/dev/null
    remove_container source
    settle
    restores_of "$megabytes"
    ((megabytes == 100)) || ctr images remove --sync "bench/size:$megabytes" >/dev/null
  done
  for ((round = 1; round <= ROUNDS; round++)); do
    many_restores
  done
}

# noise MEGABYTES: the same thousand over and over where it is more than two, for the store keeps it as well.
noise() {
  local times
  if (($1 <= 2000)); then
    head -c "$1M" /dev/urandom
    return
  fi
  head -c 1000M /dev/urandom >"$work/thousand"
  for ((times = 0; times < $1 / 1000; times++)); do cat "$work/thousand"; done
  rm "$work/thousand"
}

restores_of() {
  for ((round = 1; round <= RESTORES; round++)); do
    timed restore "$1" snapshotd snapctl restore "size-$1" --id restored
    snapctl container remove restored >/dev/null
    timed restore "$1" ctr-run run_idle "bench/size:$1" fresh
    remove_container fresh
  done
}

many_restores() {
  local before
  settle
  timed restore-many "$MANY, one by one" snapshotd one_by_one snapctl restore size-100 --id
  remove_many
  timed restore-many "$MANY, one by one" ctr-run one_by_one run_idle bench/size:100
  remove_many
  # A daemon and no mount server: the last container of the snapshot is gone.
  before=$(ours_in_memory)
  timed restore-many "$MANY, $AT_ONCE at once" snapshotd snapctl restore size-100 --count "$MANY" --id many
  record memory "$MANY restored" snapshotd $(($(ours_in_memory) - before)) B
  remove_many
  timed restore-many "$MANY, $AT_ONCE at once" ctr-run at_once
  remove_many
}

# Of the daemon and its mount servers.
ours_in_memory() {
  local pids
  mapfile -t pids < <(server_pids)
  memory_of "$daemon" "${pids[@]}"
}

# one_by_one COMMAND…: with `many-NUMBER` as its last argument each time.
one_by_one() {
  local number
  for ((number = 1; number <= MANY; number++)); do
    "$@" "many-$number" || return 1
  done
}

at_once() {
  seq -f 'many-%g' "$MANY" | xargs -P "$AT_ONCE" -I {} ctr --address "$host/containerd/containerd.sock" --namespace "$space" \
    run --fifo-dir "$host/pipes" --detach bench/size:100 {} /bin/sh -c "$IDLE"
}

remove_many() {
  snapctl container list --quiet | grep '^many-' | xargs --no-run-if-empty -n 50 "$bin/snapctl" --socket "$host/snapshotd.sock" --namespace "$space" \
    container remove >/dev/null || true
  local id
  for id in $(ctr container list --quiet | grep '^many-' || true); do remove_container "$id"; done
}
