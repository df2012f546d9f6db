# Clocks, rows and comparisons; sourced by scripts/bench-peers.
#
# A row is CASE,SIZE,SIDE,ROUND,VALUE,UNIT,LOAD: what was asked, for how much, of whom, for which time, the answer, and how busy the machine was.
# shellcheck shell=bash disable=SC2154

note() { printf 'bench-peers: %s\n' "$*" >&2; }

has() { command -v "$1" >/dev/null; }

round=1
weighs=

# record CASE SIZE SIDE VALUE UNIT
record() {
  local load
  read -r load _ </proc/loadavg
  printf '%s,%s,%s,%s,%s,%s,%s\n' "$1" "$2" "$3" "$round" "$4" "$5" "$load" | tee -a "$rows.new" >&2
}

# Sets $used_us to what commands that have ended, our daemon and mount servers have had of the processors. Not for a subshell, which knows nothing
# of our children.
used_us=0
count_processor() {
  local pid stat user system
  times >"$work/times"
  { read -r _ && read -r user system; } <"$work/times"
  used_us=$(($(clock_us "$user") + $(clock_us "$system")))
  for pid in $(servers); do
    stat=$(cat "/proc/$pid/stat" 2>/dev/null) || continue
    read -ra stat <<<"${stat##*) }"
    used_us=$((used_us + (stat[11] + stat[12]) * 10000))
  done
}

# clock_us MINUTESmSECONDS.THOUSANDTHSs
clock_us() {
  local minutes=${1%m*} rest=${1#*m}
  rest=${rest%s}
  echo $((minutes * 60000000 + 10#${rest/./} * 1000))
}

servers() {
  [[ -z ${daemon:-} ]] || { echo "$daemon" && server_pids; }
  pgrep -f "^squashfuse .*$work/" || true
}

# timed CASE SIZE SIDE COMMAND…: a command that fails is a hole in the table and a complaint here. Where $weighs is set, a row `cpu CASE`
# says how much of the processors it took, which is what a busy machine changes least.
timed() {
  local begun ended spent
  [[ -z $weighs ]] || count_processor
  spent=$used_us
  begun=${EPOCHREALTIME/[.,]/}
  if "${@:4}" >"$work/said" 2>&1; then
    ended=${EPOCHREALTIME/[.,]/}
    record "$1" "$2" "$3" "$(seconds $((ended - begun)))" s
    [[ -z $weighs ]] || { count_processor && record "cpu $1" "$2" "$3" "$(seconds $((used_us - spent)))" s; }
  else
    note "$1 $2 by $3 failed: ${*:4}"
    tail -n 5 "$work/said" >&2
  fi
}

seconds() { awk -v us="$1" 'BEGIN { printf "%.6f", us / 1e6 }'; }

# What earlier work left to be written is not to be written at the next one's expense.
settle() { sync; }

# The kernel forgets what it has read.
cool() {
  sync
  echo 3 >/proc/sys/vm/drop_caches
}

# Reads everything below a folder. tar reads nothing when it sees that it writes to nothing, hence the pipe.
read_all() { tar --create --file - --directory "$1" . | cat >/dev/null; }

bytes_of() { du --summarize --bytes "$@" | awk '{ sum += $1 } END { print sum }'; }

# Resident memory of processes in bytes.
memory_of() {
  local pid
  for pid; do cat "/proc/$pid/status"; done | awk '$1 == "VmRSS:" { sum += $2 } END { print sum * 1024 }'
}

# digest FOLDER: of names, kinds, modes, owners, sizes, targets of links, times of files to the second, and contents.
digest() {
  (
    cd "$1" || exit
    find . -xdev -mindepth 1 \( -type d -printf 'd %m %U %G %P\n' \) -o \( -type l -printf 'l %U %G %l %P\n' \) -o \
      \( -type f -printf 'f %m %U %G %s %T@ %P\n' \) -o -printf '%y %m %U %G %P\n' | sed 's/^\(f [^.]*\)\.[0-9]* /\1 /' | LC_ALL=C sort
    find . -xdev -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum
  ) | sha256sum | cut -c1-64
}

# same CASE SIDE FOLDER: whether the folder is what $expected is the digest of.
same() {
  local found
  found=$(digest "$3")
  [[ $found == "$expected" ]] && found=yes || found=no
  record "$1" '' "$2" "$found" same
}

# lay_tree FOLDER: the corpus's lower part as a plain folder.
lay_tree() {
  rm -rf "$1"
  cp --archive "$corpus/lower" "$1"
}

# apply_upper FOLDER: makes the changes of the corpus's upper part in place, with overlayfs's marks understood.
apply_upper() {
  local name
  { getfattr --recursive --absolute-names --physical --name trusted.overlay.opaque "$corpus/upper" 2>/dev/null || true; } | sed -n 's/^# file: //p' |
    while read -r name; do rm -rf "${1:?}${name#"$corpus/upper"}"; done
  find "$corpus/upper" -type c -printf '%P\n' | while read -r name; do rm -rf "${1:?}/$name"; done
  (cd "$corpus/upper" && find . -mindepth 1 ! -type c -print0 | tar --create --no-recursion --null --files-from - --format posix --file -) |
    tar --extract --directory "$1"
}

unmount_below() {
  awk -v prefix="$1/" 'index($5, prefix) == 1 { print $5 }' /proc/self/mountinfo | tac | while read -r point; do
    umount "$point" 2>/dev/null || umount --lazy "$point" || true
  done
}
