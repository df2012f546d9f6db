# A private containerd and a private snapshotd; sourced by scripts/bench-peers.
# shellcheck shell=bash disable=SC2154

# Ends at once when asked to, and does nothing until then.
IDLE='sleep 1000000 & trap "kill $!; exit" TERM; wait'

host=
daemon=
space=peers$$

# start_host FOLDER [containerd]: a snapshotd with an empty store in the folder; what a folder has is ended by `stop_host`.
start_host() {
  host=$1
  mkdir -p "$host"
  # Nothing but flags: neither a configuration of this machine must matter, nor how full its disk is.
  printf 'snapshots_per_namespace = 100000\ndisk_high_percent = 100\n' >"$host/config.toml"
  [[ -z ${2:-} ]] || scripts/containerd start "$host"
  start_daemon
}

start_daemon() {
  local waited
  setsid "$bin/snapshotd" --config "$host/config.toml" --root "$host/store" --state "$host/state" --socket "$host/snapshotd.sock" \
    --containerd "$host/containerd/containerd.sock" >>"$host/snapshotd.log" 2>&1 </dev/null &
  daemon=$!
  for ((waited = 0; waited < 300; waited++)); do
    snapctl status >/dev/null 2>&1 && return
    sleep 0.1
  done
  tail -n 5 "$host/snapshotd.log" >&2
  note "snapshotd does not answer"
  exit 1
}

stop_daemon() {
  [[ -n $daemon ]] || return 0
  kill "$daemon" 2>/dev/null || true
  wait "$daemon" 2>/dev/null || true
  daemon=
}

# The daemon with a store that holds nothing.
fresh_store() {
  stop_daemon
  rm -rf "$host/store"
  start_daemon
}

stop_host() {
  [[ -n $host ]] || return 0
  stop_daemon
  scripts/containerd stop "$host"
  host=
}

snapctl() { "$bin/snapctl" --socket "$host/snapshotd.sock" --namespace "$space" "$@"; }

# ctr keeps the pipes of its containers in one folder of the machine unless told otherwise.
ctr() {
  [[ $1 != run ]] || set -- run --fifo-dir "$host/pipes" "${@:2}"
  command ctr --address "$host/containerd/containerd.sock" --namespace "$space" "$@"
}

# import NAME FOLDER…: the folders as the layers of an image.
import() { TMPDIR=$work scripts/image "$1" - "${@:2}" | ctr images import - >/dev/null; }

run_idle() { ctr run --detach "$1" "$2" /bin/sh -c "$IDLE"; }

within() { runc --root "/run/containerd/runc/$space" exec "$1" /bin/sh -c "$2" </dev/null; }

# The writable root of a container that ctr started, as the host sees it.
rootfs_of() { echo "$host/containerd/state/io.containerd.runtime.v2.task/$space/$1/rootfs"; }

remove_container() {
  local waited
  ctr task kill --signal KILL "$1" >/dev/null 2>&1 || true
  for ((waited = 0; waited < 100; waited++)); do
    ctr task delete "$1" >/dev/null 2>&1 && break
    sleep 0.05
  done
  ctr container delete "$1" >/dev/null
}

# number FIELD: the first number of that name in the JSON on stdin.
number() { grep -oP "\"$1\": *\K[0-9]+" | head -n 1; }

server_pids() { pgrep -f "snapshotd-mount serve.*$host/" || true; }
