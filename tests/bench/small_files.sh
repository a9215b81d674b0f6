#!/usr/bin/env bash
# A million small files, ours beside bupstash and restic: small_files.sh WORK_DIR [COUNT]
#
# WORK_DIR belongs on a tmpfs. Peers are taken from the folder $PEERS; those absent are passed over. For each tool the first export, an unchanged one, one
# after one file in a thousand changed, and a whole restore: wall, user+system, peak memory, size of the repository.
set -u
W=$1 COUNT=${2:-1000000}
P=${PEERS:?folder with the peers}
OURS=${OURS:-$(cd "$(dirname "$0")/../.." && pwd)/target/release}
export RESTIC_PASSWORD=x RESTIC_CACHE_DIR=$W/cache/restic XDG_CACHE_HOME=$W/cache BUPSTASH_KEY=$W/bup.key
mkdir -p "$W/data"
. "$(dirname "$0")/steps.sh"
DATA=$W/data

make_files() {
    python3 - "$DATA" "$COUNT" <<'EOF'
import os, random, sys
root, count = sys.argv[1], int(sys.argv[2])
chance = random.Random(3)
words = ["".join(chance.choices("abcdefghijklmnopqrstuvwxyz", k=chance.randint(2, 10))) for _ in range(5000)]
for number in range(count):
    folder = f"{root}/{number // 1000:04}"
    if number % 1000 == 0:
        os.mkdir(folder)
    with open(f"{folder}/{number % 1000:03}.txt", "w") as file:
        file.write(f"{number} " + " ".join(chance.choices(words, k=chance.randint(5, 150))))
EOF
}

change_some() {
    find "$DATA" -name '500.txt' -exec sh -c 'for file; do echo "one more line" >> "$file"; done' _ {} +
}

ours() {
    local repo=$W/ours/datasets/bench/repository
    node_file "$W/ours" "$DATA"
    step ours first "$repo" "$OURS/exporter" run --config "$W/node.toml"
    step ours unchanged "$repo" "$OURS/exporter" run --config "$W/node.toml"
    change_some
    step ours changed "$repo" "$OURS/exporter" run --config "$W/node.toml"
    step ours restore "$repo" "$OURS/pull-backup" restore --repository "$repo" --at latest --to "$W/out.ours" --identity "$W/identity"
    diff -rq "$DATA" "$W/out.ours/files" >/dev/null && echo "ours: the restored tree is the same"
    rm -rf "$W/out.ours" "$W/ours"
}

bupstash_() {
    "$P/bupstash" init -r "$W/bupstash" >/dev/null
    "$P/bupstash" new-key -o "$W/bup.key"
    local put="$P/bupstash put -r $W/bupstash --compression zstd:1 --no-progress --send-log $W/sl"
    step bupstash first "$W/bupstash" $put n=a .
    step bupstash unchanged "$W/bupstash" $put n=b .
    change_some
    step bupstash changed "$W/bupstash" $put n=c .
    mkdir "$W/out.bup"
    step bupstash restore "$W/bupstash" "$P/bupstash" restore -r "$W/bupstash" --into "$W/out.bup" n=c
    rm -rf "$W/out.bup"
}

restic_() {
    local R="$P/restic -r $W/restic"
    $R -q init
    step restic first "$W/restic" $R backup .
    step restic unchanged "$W/restic" $R backup .
    change_some
    step restic changed "$W/restic" $R backup .
    step restic restore "$W/restic" $R restore latest --target "$W/out.restic"
    rm -rf "$W/out.restic"
}

make_files
sleep 2.2
cd "$DATA" || exit 1
ours
for peer in bupstash restic; do
    if [ -x "$P/$peer" ]; then
        "${peer}_"
        rm -rf "${W:?}/$peer"
    fi
done
