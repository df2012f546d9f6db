# What grows with what: captures, mounts and memory with the number of files, a capture and a mount with the number of snapshots, a restore with the number of clones.
# shellcheck shell=bash disable=SC2154

growth() {
  start_host "$work/host" containerd
  round=1
  record memory idle snapshotd "$(memory_of "$daemon")" B
  growth_of_clones
  growth_of_snapshots
  local thousands all=(10 100 1000)
  [[ $CORPUS != small ]] || all=(10 100)
  for thousands in "${all[@]}"; do
    growth_of_files "$thousands"
  done
}

# Folders of a thousand files; every tenth holds its number, so that a million take half a gigabyte on a disk and not four.
make_files() {
  local folder
  for ((folder = 0; folder < $2; folder++)); do
    mkdir -p "$1/$((folder / 100))/$folder"
    (cd "$1/$((folder / 100))/$folder" && touch {1..900} && seq -f "$folder %g" 100 | split --lines 1 --suffix-length 3 - f)
  done
}

# growth_of_files THOUSANDS
growth_of_files() {
  local many=$1 folder=$work/many point=$work/point
  make_files "$folder" "$many"
  mkdir -p "$point"
  settle
  timed files-capture "$many" snapshotd snapctl create --path "$folder" --name "files-$many"
  ! has mksquashfs || timed files-capture "$many" mksquashfs \
    mksquashfs "$folder" "$work/many.squashfs" -comp zstd -Xcompression-level 3 -noappend -no-progress -quiet
  settle
  timed files-unchanged "$many" snapshotd snapctl create --path "$folder" --name "files-$many"
  rm -rf "$folder"
  for ((round = 1; round <= ROUNDS; round++)); do
    timed files-first-ls "$many" snapshotd mount_and_ls snapctl mount "files-$many" "$point"
    ((round < ROUNDS)) || files_read "$many" "$point"
    snapctl unmount "$point" >/dev/null
    [[ -e $work/many.squashfs ]] || continue
    timed files-first-ls "$many" squashfs mount_and_ls mount -o loop,ro "$work/many.squashfs" "$point"
    umount "$point"
    has squashfuse || continue
    timed files-first-ls "$many" squashfuse mount_and_ls squashfuse "$work/many.squashfs" "$point"
    umount "$point"
  done
  rm -f "$work/many.squashfs"
}

mount_and_ls() { "$@" && ls "${@: -1}"; }

# files_read THOUSANDS MOUNTED: every name looked at, and what the server holds then.
files_read() {
  record memory "server, $1,000 files, fresh" snapshotd "$(memory_of "$(server_pids)")" B
  timed files-find-stat "$1" snapshotd find "$2" -printf '%s %m\n'
  record memory "server, $1,000 files" snapshotd "$(memory_of "$(server_pids)")" B
}

# The thousandth snapshot of a store beside its first.
growth_of_snapshots() {
  local number folder=$work/small point=$work/point made=0
  make_files "$folder" 1
  mkdir -p "$point"
  for number in 1 10 100 1000; do
    for (( ; made < number - 1; made++)); do
      echo "$made" >"$folder/changed"
      snapctl create --path "$folder" --name "n$made" --quiet >/dev/null
    done
    for ((round = 1; round <= ROUNDS; round++)); do
      echo "$number $round" >"$folder/changed"
      timed snapshots-create "$number" snapshotd snapctl create --path "$folder" --name nth
      timed snapshots-mount "$number" snapshotd mount_and_ls snapctl mount nth "$point"
      snapctl unmount "$point" >/dev/null
      timed snapshots-list "$number" snapshotd snapctl list --quiet
    done
  done
  rm -rf "$folder"
}

growth_of_clones() {
  local number
  import bench/size:100 "$(scripts/rootfs busybox)"
  run_idle bench/size:100 source
  snapctl create source --name clone >/dev/null
  remove_container source
  for number in 1 10 30 100; do
    MANY=$number
    for ((round = 1; round <= ROUNDS; round++)); do
      timed clones "$number" snapshotd snapctl restore clone --count "$number" --id many
      remove_many
      timed clones "$number" ctr-run at_once
      remove_many
    done
  done
}
