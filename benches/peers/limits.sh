# What no server can leave out of a cold read on this machine: the way to a server and back, and decoding. And what a second capture cannot
# leave out: the changed files, each compressed by itself. And what a first capture is when nothing else is done.
# shellcheck shell=bash disable=SC2154

limits() {
  local what value
  cargo build --locked --quiet --release --package snap-fs --example limits
  for ((round = 1; round <= ROUNDS; round++)); do
    mkdir "$work/limits"
    "$target/release/examples/limits" "$work/limits" "$corpus/lower/srv/data/app.sqlite" >"$work/said"
    rm -rf "$work/limits"
    while IFS=$'\t' read -r what value; do
      record limit "$what" machine "$(seconds "$value")" s
    done <"$work/said"
  done
  changed_bytes
  first_capture
}

# From the page cache, as captures are measured.
first_capture() {
  local what value
  cargo build --locked --quiet --release --package snap-store --example floor
  read_all "$corpus/lower"
  for ((round = 1; round <= ROUNDS; round++)); do
    settle
    "$target/release/examples/floor" "$corpus/lower" "$work/floor" >"$work/said"
    while IFS=$'\t' read -r what value; do
      record floor "$what" machine "$(seconds "$value")" s
    done <"$work/said"
  done
}

# Files of the upper part whose contents are new, but for the database: bytes, and bytes of each through zstd -3.
changed_bytes() {
  local name
  find "$corpus/upper" -type f ! -name app.sqlite -printf '%P\0' | while IFS= read -r -d '' name; do
    cmp --silent "$corpus/upper/$name" "$corpus/lower/$name" || printf '%s\0' "$corpus/upper/$name"
  done >"$work/changed"
  round=1 record limit "changed files" machine "$(du --bytes --files0-from "$work/changed" --total | awk 'END { print $1 }')" B
  round=1 record limit "changed files, each through zstd -3" machine "$(xargs -0 -n 1 -a "$work/changed" zstd -3 --stdout --quiet | wc --bytes)" B
}
