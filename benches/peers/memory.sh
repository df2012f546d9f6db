# Processes captured while they run and restored: what criterion measures in benches/benches/memory.rs, as rows. It takes the programs of
# target/release, whatever SNAP_BINARIES says.
# shellcheck shell=bash disable=SC2154

memory() {
  local benchmark folder
  rm -rf "$target"/criterion/{pause_for_memory,restore_to_running}
  cargo bench --locked --quiet --package snap-benches --bench memory >"$work/said"
  for benchmark in "$target"/criterion/{pause_for_memory,restore_to_running}/*/*/new/benchmark.json; do
    folder=${benchmark%/benchmark.json}
    record "memory-$(json_field "$benchmark" group_id)" "$(json_field "$benchmark" value_str)" \
      "$(json_field "$benchmark" function_id | tr ' ' -)" "$(median_seconds "$folder/estimates.json")" s
  done
  while IFS=$'\t' read -r what value unit; do
    record memory-more "$what" snapshotd "$value" "$unit"
  done < <(grep --perl-regexp '\t(B|s)$' "$work/said")
}

json_field() { grep -oP "\"$2\":\"?\K[^\",}]+" "$1" | head -n 1; }

median_seconds() { grep -oP '"median":\{.*?"point_estimate":\K[0-9.eE+-]+' "$1" | awk '{ printf "%.6f", $1 / 1e9 }'; }
