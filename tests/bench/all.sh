#!/usr/bin/env bash
# All figures of PERFORMANCE.md, anew: all.sh [WORK_DIR]
#
# Needs about 12 GB on a tmpfs (default: a new folder in /dev/shm), both cores to itself, and an hour. Peers are those found on the path, or in the folder
# $PEERS; those absent are passed over.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
ours=${OURS:-$here/../../target/release}
work=${1:-/dev/shm/resilient-bench.$$}
mkdir -p "$work"
if [ -z "${PEERS:-}" ]; then
    PEERS=$work/peers
    mkdir -p "$PEERS"
    for peer in bupstash conserve restic rustic borg; do
        if path=$(command -v $peer); then ln -sf "$path" "$PEERS/$peer"; else echo "$peer is not here"; fi
    done
fi
export PEERS OURS="$ours"

echo "== beside the peers"
python3 "$here/data.py" "$work/v0" "$work/v1"
bash "$here/peers.sh" "$work/peers.run" "$work/v0" "$work/v1"
rm -rf "$work/peers.run" "$work/v0" "$work/v1"

echo "== a million small files"
bash "$here/small_files.sh" "$work/small.run"
rm -rf "$work/small.run"

echo "== 168 hourly versions, of 50 MB and of 1 GB"
"$ours/growth" hours "$work/hours" 168 50
"$ours/growth" read "$work/hours"
rm -rf "$work/hours"
"$ours/growth" hours "$work/hours" 24 1000
"$ours/growth" read "$work/hours"
rm -rf "$work/hours"

echo "== what a new active builds on"
"$ours/growth" adopt "$work/adopt" 1000
rm -rf "$work"/adopt*

echo "== between hosts"
for what in "sync 1000" "notice 40" "many 200" "idle 60" "append 2000 60" "soak 3600"; do
    echo "-- $what"
    TMPDIR=$work "$ours/hops" $what
done

echo "== databases"
bash "$here/postgres.sh" "$work/postgres"
rm -rf "$work/postgres"
"$ours/examples/mysql_speed"

echo "== an address and a name when a host dies"
bash "$here/address.sh" 20

echo "== a day of a small database, exported each 5 s"
"$ours/growth" sqlite "$work/day" 17280
rm -rf "$work"
