# The corpus after a day's work as a folder, as our mount, as images of squashfs and EROFS, and through squashfuse: listing, looking, reading, starting programs.
#
# Cold: mounted afresh, and neither the kernel nor a trace knows anything. Warm: the same once more. Learned: cold for the second time, with the
# trace of the first.
# shellcheck shell=bash disable=SC2154

RANDOM_COLD=3000
RANDOM_WARM=100000

# SIDE COMMAND: what must be installed. The folder itself is what everything is compared with.
mount_sides() {
  local side command
  while read -r side command; do
    ! has "$command" || echo "$side"
  done <<'SIDES'
native true
snapshotd true
squashfs mksquashfs
erofs mkfs.erofs
squashfuse squashfuse
SIDES
}

mount_side() {
  case $1 in
    native) ;;
    snapshotd) snapctl mount two "$points/snapshotd" ;;
    squashfs) mount -o loop,ro "$images/two.squashfs" "$points/squashfs" ;;
    erofs) mount -t erofs -o loop,ro "$images/two.erofs" "$points/erofs" ;;
    squashfuse) squashfuse "$images/two.squashfs" "$points/squashfuse" ;;
  esac
}

unmount_side() {
  case $1 in
    native) ;;
    snapshotd) snapctl unmount "$points/snapshotd" >/dev/null ;;
    *) umount "$points/$1" ;;
  esac
}

point() { [[ $1 == native ]] && echo "$tree" || echo "$points/$1"; }

# inside FOLDER COMMAND…: with the folder as root, and a writable /tmp and devices that the image does not hold.
inside() {
  # shellcheck disable=SC2016
  unshare --mount sh -c 'mount -t tmpfs none "$0/tmp" && mount --bind /dev "$0/dev" && exec chroot "$0" "$@"' "$@"
}

do_find() { find "$1" -xdev; }
do_find-stat() { find "$1" -xdev -printf '%s %m\n'; }
do_tar() { read_all "$1"; }
do_file() { cat "$1/srv/data/big100.bin" >/dev/null; }
do_python() { inside "$1" python3 -B -c 'import numpy, requests, yaml, jinja2, sqlalchemy'; }
do_git() { inside "$1" env HOME=/root git --no-optional-locks -C /srv/repo status --porcelain; }
do_node() {
  inside "$1" sh -c "cd /srv/app && exec node -e 'for (const name of [\"express\", \"lodash\", \"axios\", \"typescript\", \"webpack\", \"date-fns\"]) try { require(name) } catch {}'"
}
do_gcc() {
  printf '#include <stdio.h>\n#include <stdlib.h>\nint main(void) { return puts("built") < 0; }\n' |
    inside "$1" gcc -x c -O2 -o /tmp/built -
}

# random FOLDER READS: how many 4 KiB a second one reader gets.
random() {
  fio --name=read --filename="$1/srv/data/app.sqlite" --readonly --rw=randread --bs=4k --ioengine=psync --invalidate=0 --thread \
    --number_ios="$2" --randseed=7 --output-format=terse --terse-version=3 | awk -F ';' '{ print $8 }'
}

first_ls() { mount_side "$1" && ls "$(point "$1")"; }

mounts() {
  tree=$work/tree points=$work/points images=$work/images weighs=yes
  local side step
  start_host "$work/host"
  make_images
  mapfile -t sides < <(mount_sides)
  for ((round = 1; round <= ROUNDS; round++)); do
    for side in "${sides[@]}"; do
      [[ $side == native ]] && continue
      # Once before, so that what is measured is the mount and not reading the programs that make it from the disk.
      first_ls "$side" >/dev/null && unmount_side "$side"
      timed first-ls "$names" "$side" first_ls "$side" && unmount_side "$side"
    done
    for step in find find-stat file python git node gcc tar random; do
      for side in "${sides[@]}"; do
        # A round of squashfuse takes as long as those of all others.
        [[ $side != squashfuse ]] || ((round == 1)) || continue
        cold_and_warm "$step" "$side"
      done
    done
    for step in python git node gcc; do
      learned "$step"
    done
  done
  mount_side snapshotd
  expected=$(digest "$tree")
  same mount snapshotd "$points/snapshotd"
  round=1 record memory "server, corpus read" snapshotd "$(memory_of "$(server_pids)")" B
  unmount_side snapshotd
}

make_images() {
  local side
  lay_tree "$tree"
  apply_upper "$tree"
  names=$(find "$tree" | wc -l)
  mkdir -p "$points"/{snapshotd,squashfs,erofs,squashfuse} "$images"
  snapctl create --path "$tree" --name two >/dev/null
  ! has mksquashfs || mksquashfs "$tree" "$images/two.squashfs" -comp zstd -Xcompression-level 3 -noappend -no-progress -quiet >/dev/null
  ! has mkfs.erofs || mkfs.erofs -zlz4hc -C65536 "$images/two.erofs" "$tree" >/dev/null
}

# cold_and_warm STEP SIDE
cold_and_warm() {
  local folder
  folder=$(point "$2")
  forget_traces
  cool
  mount_side "$2" >/dev/null
  if [[ $1 == random ]]; then
    has fio && record random-cold '' "$2" "$(random "$folder" "$RANDOM_COLD")" /s
    cat "$folder/srv/data/app.sqlite" >/dev/null
    has fio && record random-warm '' "$2" "$(random "$folder" "$RANDOM_WARM")" /s
  else
    timed "$1-cold" '' "$2" "do_$1" "$folder"
    [[ $1 == tar ]] || timed "$1-warm" '' "$2" "do_$1" "$folder"
  fi
  unmount_side "$2"
}

# What mounts have needed first is known no longer.
forget_traces() { rm -rf "$host/store/cache/traces"; }

# learned STEP: how long the second cold start takes.
learned() {
  local folder
  folder=$(point snapshotd)
  forget_traces
  cool
  mount_side snapshotd >/dev/null
  "do_$1" "$folder" >/dev/null 2>&1
  unmount_side snapshotd
  cool
  mount_side snapshotd >/dev/null
  timed "$1-learned" '' snapshotd "do_$1" "$folder"
  unmount_side snapshotd
}
