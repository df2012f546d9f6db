# How long a container stands still, as the daemon reports it, whatever its writable layer holds. A megabyte of that changes before each.
#
# On the disk the project lies on, and on xfs in a loop file, where files can be cloned. Beside it: pausing and resuming by ctr, two commands.
# shellcheck shell=bash disable=SC2154

PAUSES=20
XFS_BYTES=6G
# What 10 GB of writable layer take on the disk, with room to spare.
LARGE_FREE_KIB=$((25 << 20))

pauses() {
  local sizes=(10 1000) free
  free=$(df --output=avail "$work" | tail -n 1)
  ((free < LARGE_FREE_KIB)) || [[ $CORPUS == small ]] || sizes+=(10000)
  pauses_on "$(findmnt --noheadings --output FSTYPE --target "$work")" "$work/host" "${sizes[@]}"
  stop_host
  rm -rf "$work/host"
  has mkfs.xfs || return 0
  truncate --size "$XFS_BYTES" "$work/xfs.img"
  mkfs.xfs -q -m reflink=1 "$work/xfs.img"
  mkdir "$work/xfs"
  mount -o loop "$work/xfs.img" "$work/xfs"
  pauses_on xfs "$work/xfs/host" 10 1000
  stop_host
  umount "$work/xfs"
}

# pauses_on NAME FOLDER MEGABYTES…
pauses_on() {
  local megabytes
  start_host "$2" containerd
  import bench/busybox:1 "$(scripts/rootfs busybox)"
  for megabytes in "${@:3}"; do
    run_idle bench/busybox:1 "m$megabytes"
    fill "m$megabytes" "$megabytes"
    snapctl create "m$megabytes" >/dev/null
    for ((round = 1; round <= PAUSES; round++)); do
      within "m$megabytes" 'dd if=/dev/urandom of=/changed bs=1M count=1 2>/dev/null'
      record pause "$1 $megabytes" snapshotd \
        "$(snapctl --output json create "m$megabytes" | number pause_us | awk '{ print $1 / 1e6 }')" s
      ((round % 5)) || timed pause "$1 $megabytes" ctr-pause-resume pause_and_resume "m$megabytes"
    done
    remove_container "m$megabytes"
  done
}

pause_and_resume() { ctr task pause "$1" && ctr task resume "$1"; }

# Files of 100 MB at most; the same one many times, because it is how much lies there that may matter for the pause.
fill() {
  local most=$(($2 < 100 ? $2 : 100))
  within "$1" "mkdir /data && dd if=/dev/urandom of=/data/0 bs=1M count=$most 2>/dev/null && i=1 &&
    while [ \$((i * $most)) -lt $2 ]; do cp /data/0 /data/\$i; i=\$((i + 1)); done; sync"
}
