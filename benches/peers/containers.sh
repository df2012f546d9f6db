# A running container of the corpus: its first capture with the image below it, one with a day's work in its writable layer, one after nothing.
# shellcheck shell=bash disable=SC2154

containers() {
  weighs=yes
  start_host "$work/host" containerd
  import bench/corpus:1 "$corpus/lower"
  for ((round = 1; round <= ROUNDS; round++)); do
    fresh_store
    run_idle bench/corpus:1 web
    settle
    timed container-capture first snapshotd snapctl create web --name one
    apply_upper "$(rootfs_of web)"
    container_yardstick
    settle
    timed container-capture second snapshotd container_create two
    record pause corpus snapshotd "$(number pause_us <"$work/created" | awk '{ print $1 / 1e6 }')" s
    record container-stored second snapshotd "$(number stored_bytes <"$work/created")" B
    settle
    timed container-capture unchanged snapshotd container_create three
    remove_container web
  done
}

container_create() { snapctl --output json create web --name "$1" >"$work/created"; }

# What is there without any of these programs: an archive of the writable layer alone, and of the whole root.
container_yardstick() {
  read_all "$corpus/upper"
  settle
  timed container-capture second tar-zstd-upper tar_upper
}
