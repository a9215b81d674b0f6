#!/usr/bin/env bash
# Ours beside the peers, in one run: peers.sh WORK_DIR DATA_V0 FILES_V1
#
# DATA_V0 is a tree; FILES_V1 holds the files that its second version changes, copied over the first in place. Both and WORK_DIR belong on a
# tmpfs: a disk's noise hides the program. Peers are taken from the folder $PEERS (restic, rustic, borg, bupstash, conserve); those absent are
# passed over. Ours are taken from $OURS (default: target/release). A row for each tool and step: wall, user+system, peak memory, size of the
# repository; at the end each of our steps as a ratio to the fastest peer's, and the sizes.
set -u
W=$1 D0=$2 D1=$3
P=${PEERS:?folder with the peers}
OURS=${OURS:-$(cd "$(dirname "$0")/../.." && pwd)/target/release}
export RESTIC_PASSWORD=x RUSTIC_PASSWORD=x BORG_PASSPHRASE=x BORG_RELOCATED_REPO_ACCESS_IS_OK=yes
export RESTIC_CACHE_DIR=$W/cache/restic XDG_CACHE_HOME=$W/cache BORG_BASE_DIR=$W/cache/borg BUPSTASH_KEY=$W/bup.key
mkdir -p "$W"
. "$(dirname "$0")/steps.sh"
cp -a "$D0" "$W/data"
DATA=$W/data
: > "$W/rows"

first_version() { (cd "$D1" && find . -type f) | while read -r f; do cp "$D0/$f" "$DATA/$f"; done; }
second_version() { cp -r "$D1/." "$DATA/"; }
# Times near to a capture do not count as unchanged: a moment between writing and the next step, for every tool alike.
settle() { sync; sleep 2.2; }

ours() {
    local state=$W/ours repo=$W/ours/datasets/bench/repository
    node_file "$state" "$DATA"
    settle
    step ours first "$repo" "$OURS/exporter" run --config "$W/node.toml"
    step ours unchanged "$repo" "$OURS/exporter" run --config "$W/node.toml"
    local before
    before=$(find "$repo" -type f -printf '%s\n' | awk '{n += $1} END {print n}')
    second_version
    step ours changed "$repo" "$OURS/exporter" run --config "$W/node.toml"
    echo "ours: new bytes for the second version: $(($(find "$repo" -type f -printf '%s\n' | awk '{n += $1} END {print n}') - before))"
    first_version
    step ours restore "$repo" "$OURS/pull-backup" restore --repository "$repo" --at latest --to "$W/out.ours" --identity "$W/identity"
    second_version
    diff -r "$DATA" "$W/out.ours/files" >/dev/null && echo "ours: the restored tree is the second version"
    first_version
    rm -rf "$W/out.ours"
    step ours check "$repo" "$OURS/pull-backup" check --read --repository "$repo"
}

restic_() {
    local R="$P/restic -r $W/restic"
    $R -q init
    settle
    step restic first "$W/restic" $R backup .
    step restic unchanged "$W/restic" $R backup .
    second_version
    step restic changed "$W/restic" $R backup .
    first_version
    step restic restore "$W/restic" $R restore latest --target "$W/out.restic"
    step restic check "$W/restic" $R check --read-data
    rm -rf "$W/out.restic"
}

rustic_() {
    local R="$P/rustic -r $W/rustic"
    $R init >/dev/null 2>&1
    settle
    step rustic first "$W/rustic" $R --no-progress backup .
    step rustic unchanged "$W/rustic" $R --no-progress backup .
    second_version
    step rustic changed "$W/rustic" $R --no-progress backup .
    first_version
    step rustic restore "$W/rustic" $R --no-progress restore latest "$W/out.rustic"
    step rustic check "$W/rustic" $R --no-progress check --read-data
    rm -rf "$W/out.rustic"
}

borg_() {
    "$P/borg" init -e repokey-blake2 "$W/borg" >/dev/null 2>&1
    settle
    step borg first "$W/borg" "$P/borg" create -C zstd,1 "$W/borg::a" .
    step borg unchanged "$W/borg" "$P/borg" create -C zstd,1 "$W/borg::b" .
    second_version
    step borg changed "$W/borg" "$P/borg" create -C zstd,1 "$W/borg::c" .
    first_version
    mkdir "$W/out.borg"
    (cd "$W/out.borg" && step borg restore "$W/borg" "$P/borg" extract "$W/borg::c")
    step borg check "$W/borg" "$P/borg" check --verify-data "$W/borg"
    rm -rf "$W/out.borg"
}

bupstash_() {
    "$P/bupstash" init -r "$W/bupstash" >/dev/null
    "$P/bupstash" new-key -o "$W/bup.key"
    local put="$P/bupstash put -r $W/bupstash --compression zstd:1 --no-progress --send-log $W/sl"
    settle
    step bupstash first "$W/bupstash" $put n=a .
    step bupstash unchanged "$W/bupstash" $put n=b .
    second_version
    step bupstash changed "$W/bupstash" $put n=c .
    first_version
    mkdir "$W/out.bup"
    step bupstash restore "$W/bupstash" "$P/bupstash" restore -r "$W/bupstash" --into "$W/out.bup" n=c
    rm -rf "$W/out.bup"
}

conserve_() {
    "$P/conserve" init "$W/conserve" >/dev/null
    settle
    step conserve first "$W/conserve" "$P/conserve" backup --no-progress "$W/conserve" .
    step conserve unchanged "$W/conserve" "$P/conserve" backup --no-progress "$W/conserve" .
    second_version
    step conserve changed "$W/conserve" "$P/conserve" backup --no-progress "$W/conserve" .
    first_version
    step conserve restore "$W/conserve" "$P/conserve" restore --no-progress "$W/conserve" "$W/out.conserve"
    rm -rf "$W/out.conserve"
}

cd "$DATA" || exit 1
ours
for peer in bupstash conserve restic rustic borg; do
    if [ -x "$P/$peer" ]; then
        "${peer}_"
        rm -rf "${W:?}/$peer"
    fi
done
echo
awk '$1 == "ours" {ours[$2] = $3; mb[$2] = $4; next}
     {if (!($2 in best) || $3 < best[$2]) {best[$2] = $3; who[$2] = $1}}
     $2 == "first" && (!small || $4 < small) {small = $4; smallest = $1}
     END {for (step in ours) if (step in best) printf "%-10s ours %.2f s, fastest peer %.2f s (%s): ratio %.2f\n", step, ours[step], best[step], who[step], ours[step] / best[step];
          printf "repository after the first export: ours %d MB, smallest peer %d MB (%s)\n", mb["first"], small, smallest}' "$W/rows"
