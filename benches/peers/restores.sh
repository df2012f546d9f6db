# From a request to a running process, for images of different sizes, and a hundred of them. Beside it: `ctr run` of the same image.
# shellcheck shell=bash disable=SC2154

RESTORES=10
MANY=100
# What the daemon does at once.
AT_ONCE=8

restores() {
  local megabytes sizes=(1 100 2000)
  [[ $CORPUS != small ]] || sizes=(1 100)
  start_host "$work/host" containerd
  for megabytes in "${sizes[@]}"; do
    mkdir "$work/layer"
    head -c "${megabytes}M" /dev/urandom >"$work/layer/noise"
    import "bench/size:$megabytes" "$(scripts/rootfs busybox)" "$work/layer"
    rm -rf "$work/layer"
    run_idle "bench/size:$megabytes" source
    snapctl create source --name "size-$megabytes" >/dev/null
    remove_container source
    settle
    restores_of "$megabytes"
  done
  for ((round = 1; round <= ROUNDS; round++)); do
    many_restores
  done
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
