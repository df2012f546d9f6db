# Folders: the first capture of the corpus, one after a day's work, one after nothing, what they store, and a full restore.
#
# Each program has a repository of its own and takes its turn at every step, so that all of a step meet the same minutes.
# shellcheck shell=bash disable=SC2154

export RESTIC_PASSWORD=peers RUSTIC_PASSWORD=peers BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK=yes BORG_RELOCATED_REPO_ACCESS_IS_OK=yes

# SIDE COMMAND ROUNDS: whose turn it is, what must be installed, and in how many rounds it takes part. Slow ones do in one.
capture_sides() {
  local side command rounds
  while read -r side command rounds; do
    has "$command" && ((round <= rounds)) && echo "$side"
  done <<SIDES
snapshotd true $ROUNDS
restic restic $ROUNDS
rustic rustic $ROUNDS
borg-lz4 borg $ROUNDS
borg-zstd borg 1
casync casync 1
mksquashfs mksquashfs $ROUNDS
tar-zstd zstd $ROUNDS
mkfs.erofs mkfs.erofs 1
SIDES
  true
}

# Each side: PREPARE makes an empty repository, CAPTURE stores $tree under a name, KEPT lists what is stored, BACK restores a name.
prepare() {
  rm -rf "${repos:?}/$1"
  mkdir -p "$repos/$1"
  case $1 in
    snapshotd) fresh_store ;;
    restic) restic --quiet init --repository-version 2 --repo "$repos/restic" ;;
    rustic) rustic --log-level error --repository "$repos/rustic" init ;;
    borg-*) borg init --encryption none "$repos/$1/repo" ;;
  esac >"$work/said" 2>&1
}

capture() {
  local repo=$repos/$1
  case $1 in
    snapshotd) snapctl create --path "$tree" --name "$2" ;;
    restic) restic --quiet --repo "$repo" backup --tag "$2" "$tree" ;;
    rustic) rustic --log-level error --no-progress --repository "$repo" backup --tag "$2" "$tree" ;;
    borg-lz4) (cd "$tree" && borg create --compression lz4 "$repo/repo::$2" .) ;;
    borg-zstd) (cd "$tree" && borg create --compression zstd,3 "$repo/repo::$2" .) ;;
    casync) casync --store "$repo/store.castr" --compression zstd make "$repo/$2.caidx" "$tree" ;;
    mksquashfs) mksquashfs "$tree" "$repo/$2.squashfs" -comp zstd -Xcompression-level 3 -noappend -no-progress -quiet ;;
    mkfs.erofs) mkfs.erofs -zlz4hc -C65536 "$repo/$2.erofs" "$tree" ;;
    tar-zstd) (set -o pipefail && tar --create --directory "$tree" . | zstd -q -3 -T2 >"$repo/$2.tar.zst") ;;
  esac
}

# Caches that each program keeps beside its repository do not count, nor does our reserve for a full disk.
stored() {
  case $1 in
    snapshotd) bytes_of "$host"/store/{packs,index,manifests,catalogue.db*} ;;
    *) bytes_of "$repos/$1" ;;
  esac
}

# Where a restored tree lies: some programs put it below its old path.
restored() {
  case $1 in
    restic) echo "$2/$tree" ;;
    *) echo "$2" ;;
  esac
}

bring_back() {
  local repo=$repos/$1
  case $1 in
    snapshotd) snapctl copy "$2:/" "$3" ;;
    restic) restic --quiet --repo "$repo" restore latest --target "$3" ;;
    rustic) rustic --log-level error --no-progress --repository "$repo" restore "latest:$tree" "$3" ;;
    borg-*) mkdir "$3" && (cd "$3" && borg extract "$repo/repo::$2") ;;
    casync) casync --store "$repo/store.castr" extract "$repo/$2.caidx" "$3" ;;
    mksquashfs) unsquashfs -quiet -no-progress -dest "$3" "$repo/$2.squashfs" ;;
    tar-zstd) mkdir "$3" && (set -o pipefail && zstd -q -d -c "$repo/$2.tar.zst" | tar --extract --directory "$3") ;;
    *) return 1 ;;
  esac
}

tar_upper() { (set -o pipefail && tar --create --directory "$corpus/upper" . | zstd -q -3 -T2 >"$work/upper.tar.zst"); }

captures() {
  tree=$work/tree
  repos=$work/repos weighs=yes
  start_host "$work/host"
  for ((round = 1; round <= ROUNDS; round++)); do
    mapfile -t sides < <(capture_sides)
    lay_tree "$tree"
    first_step
    apply_upper "$tree"
    second_step
    unchanged_step
    ((round > 1)) || expected=$(digest "$tree")
    restore_step
  done
}

first_step() {
  read_all "$tree"
  timed first-capture '' tar-nothing read_all "$tree"
  local side
  for side in "${sides[@]}"; do
    prepare "$side"
    settle
    timed first-capture '' "$side" capture "$side" one
    kept_bytes[$side]=$(stored "$side")
    record stored-first '' "$side" "${kept_bytes[$side]}" B
  done
}

second_step() {
  read_all "$tree"
  timed second-capture '' tar-nothing read_all "$tree"
  settle
  timed second-capture '' tar-zstd-upper tar_upper
  record stored-added '' tar-zstd-upper "$(bytes_of "$work/upper.tar.zst")" B
  local side now
  for side in "${sides[@]}"; do
    [[ $side != mkfs.erofs ]] || continue
    settle
    timed second-capture '' "$side" capture "$side" two
    now=$(stored "$side")
    record stored-added '' "$side" $((now - kept_bytes[$side])) B
  done
}

# Those that store a whole image each time have no such case.
unchanged_step() {
  local side
  for side in "${sides[@]}"; do
    case $side in mksquashfs | mkfs.erofs | tar-zstd) continue ;; esac
    settle
    timed unchanged-capture '' "$side" capture "$side" three
  done
}

restore_step() {
  local side back=$work/back
  for side in "${sides[@]}"; do
    [[ $side != mkfs.erofs ]] || continue
    rm -rf "$back"
    settle
    timed full-restore '' "$side" bring_back "$side" two "$back"
    ((round > 1)) || same full-restore "$side" "$(restored "$side" "$back")"
  done
  rm -rf "$back"
}

declare -A kept_bytes
