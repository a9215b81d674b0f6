#!/usr/bin/env bash
# A PostgreSQL database beside its own tools and restic: postgres.sh WORK_DIR [SCALE]
#
# WORK_DIR belongs on a tmpfs. A throwaway server with `pgbench -i -s SCALE` (default 70, about 1 GB). Timed: pg_dump into a folder, pg_dump into restic, our export; then
# one account in a hundred changed, and all again; then pg_restore and our import into a second server. At the end ours as ratios.
set -eu
W=$1 SCALE=${2:-70}
OURS=${OURS:-$(cd "$(dirname "$0")/../.." && pwd)/target/release}
BIN=$(ls -d /usr/lib/postgresql/*/bin | sort -V | tail -1)
export RESTIC_PASSWORD=x RESTIC_CACHE_DIR=$W/cache PGUSER=postgres
mkdir -p "$W"
chmod 755 "$W"
. "$(dirname "$0")/steps.sh"
: > "$W/rows"

as() { if [ "$(id -u)" = 0 ]; then setpriv --reuid postgres --regid postgres --clear-groups "$@"; else "$@"; fi; }
server() {
    mkdir -p "$W/$1"
    if [ "$(id -u)" = 0 ]; then chown postgres: "$W/$1"; fi
    (cd / && as "$BIN/initdb" --no-sync -U postgres -A trust -E UTF8 --locale=C.UTF-8 -D "$W/$1/data" >/dev/null)
    (cd / && as "$BIN/pg_ctl" start -w -s -D "$W/$1/data" -l "$W/$1/log" -o "-k $W/$1 -c listen_addresses= -c fsync=off -c max_wal_size=8GB -c shared_buffers=1GB -c autovacuum=off")
}
stop() { kill -INT "$(head -1 "$W/$1/data/postmaster.pid")"; tail --pid="$(head -1 "$W/$1/data/postmaster.pid")" -f /dev/null; }
trap 'for one in a b; do if [ -e "$W/$one/data/postmaster.pid" ]; then stop $one; fi; done' EXIT

server a
export PGHOST=$W/a
createdb bench
pgbench -q -i -s "$SCALE" bench 2>/dev/null
psql -q bench -c "CREATE TABLE texts AS SELECT i, md5(i::text) || md5((i * 7)::text) || md5((i * 13)::text) AS text FROM generate_series(1, $SCALE * 10000) i; ALTER TABLE texts ADD PRIMARY KEY (i)" -c "VACUUM FREEZE ANALYZE"
psql -At bench -c "SELECT 'the database has ' || pg_size_pretty(pg_database_size('bench'))"

printf 'cluster = "bench"\n[node]\nname = "web1"\nstate = "%s/state"\n[seal]\noff = true\n[[dataset]]\nname = "bench"\n[[dataset.source]]\nrecipe = "postgres"\nhost = "%s"\ndatabase = "bench"\n' "$W" "$W/a" > "$W/node.toml"
repo=$W/state/datasets/bench/repository
restic_() { pg_dump bench | restic -q -r "$W/restic" backup --stdin --stdin-filename bench.sql; }
dump() { rm -rf "$W/dump"; pg_dump -Fd -j2 -Z0 -f "$W/dump" bench; }
size() { find "$1" -type f -printf '%s\n' | awk '{n += $1} END {print n}'; }
export -f restic_ dump
export W
restic -q -r "$W/restic" init
round() {
    step pg_dump "$1" "$W/dump" bash -c dump
    local before
    before=$(size "$W/restic")
    step restic "$1" "$W/restic" bash -c restic_
    echo "restic: new bytes: $(($(size "$W/restic") - before))"
    before=$(if [ -d "$repo" ]; then size "$repo"; else echo 0; fi)
    step ours "$1" "$repo" "$OURS/exporter" run --config "$W/node.toml"
    echo "ours: new bytes: $(($(size "$repo") - before))"
}
round first
round unchanged
psql -q bench -c "UPDATE pgbench_accounts SET abalance = abalance + 1 WHERE aid % 100 = 7"
echo "one account in a hundred was changed"
round accounts
psql -q bench -c "UPDATE texts SET text = md5(random()::text) || md5(random()::text) || md5(random()::text) WHERE i % 100 = 7"
echo "one text in a hundred was changed"
round texts

server b
export PGHOST=$W/b
createdb other
dump_restore() { pg_restore -j2 -d other "$W/dump"; }
export -f dump_restore
step pg_restore import "$W/dump" bash -c dump_restore
dropdb other
for verify in counts full; do
    "$OURS/pull-backup" restore --repository "$repo" --at latest --to "$W/tree" >/dev/null
    echo "-- our import, verify = $verify"
    step ours "$verify" "$W/tree" "$OURS/examples/postgres_import" "$W/tree/postgres" "$W/b" "$W/scratch" "$verify"
    cat "$W/out"
    rm -rf "$W/tree"
done
awk '$1 == "ours" || $1 == "pg_dump" || $1 == "restic" {wall[$1, $2] = $3; steps[$2] = 1}
    END {for (step in steps) if ((("ours", step) in wall) && (("pg_dump", step) in wall)) printf "%s: ours takes %.2f of the time of pg_dump, %.2f of pg_dump into restic\n", step, wall["ours", step] / wall["pg_dump", step], wall["ours", step] / wall["restic", step]}' "$W/rows"
