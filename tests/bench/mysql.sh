#!/usr/bin/env bash
# A MariaDB database beside its own tools and restic: mysql.sh WORK_DIR [ROWS]
#
# WORK_DIR belongs on a tmpfs. A throwaway server with accounts and texts (default 6,000,000 and 600,000 rows, about 1 GB). Timed: mariadb-dump, mydumper, mariadb-dump into
# restic, our export; then one account in a hundred changed, then one text in a hundred, and all again. At the end ours as ratios. Imports: the example mysql_speed.
set -eu
W=$1 ROWS=${2:-6000000}
OURS=${OURS:-$(cd "$(dirname "$0")/../.." && pwd)/target/release}
export RESTIC_PASSWORD=x RESTIC_CACHE_DIR=$W/cache
mkdir -p "$W"
. "$(dirname "$0")/steps.sh"
: > "$W/rows"
mariadb-install-db --no-defaults --auth-root-authentication-method=normal --skip-test-db --datadir="$W/data" >/dev/null
mariadbd --no-defaults --skip-networking --user=root --datadir="$W/data" --socket="$W/socket" --pid-file="$W/pid" --tmpdir="$W" --innodb-buffer-pool-size=1G \
    --innodb-flush-log-at-trx-commit=0 --innodb-log-file-size=1G >"$W/log" 2>&1 &
server=$!
trap 'kill $server; wait $server || true' EXIT
export OPTIONS="--no-defaults --user=root --socket=$W/socket"
until mariadb $OPTIONS -e 'SELECT 1' >/dev/null 2>&1; do kill -0 $server; done
sql() { mariadb $OPTIONS bench -e "$1"; }
mariadb $OPTIONS -e 'CREATE DATABASE bench'
sql "CREATE TABLE accounts (aid INT PRIMARY KEY, bid INT, abalance INT, filler CHAR(84)); INSERT INTO accounts SELECT seq, seq DIV 100000, 0, '' FROM seq_1_to_$ROWS"
sql "CREATE TABLE texts (i INT PRIMARY KEY, text TEXT); INSERT INTO texts SELECT seq, CONCAT(MD5(seq), MD5(seq * 7), MD5(seq * 13), REPEAT(MD5(seq * 17), 3)) FROM seq_1_to_$((ROWS / 10))"
printf 'cluster = "bench"\n[node]\nname = "web1"\nstate = "%s/state"\n[seal]\noff = true\n[[dataset]]\nname = "bench"\n[[dataset.source]]\nrecipe = "mariadb"\nsocket = "%s/socket"\ndatabase = "bench"\n' "$W" "$W" > "$W/node.toml"
repo=$W/state/datasets/bench/repository
restic_() { mariadb-dump $OPTIONS --single-transaction bench | restic -q -r "$W/restic" backup --stdin --stdin-filename bench.sql; }
dump() { mariadb-dump $OPTIONS --single-transaction bench > "$W/dump.sql"; }
dumper() { rm -rf "$W/dumper"; mydumper --user root --socket "$W/socket" -B bench -t 2 -r 500000 -o "$W/dumper"; }
size() { find "$1" -type f -printf '%s\n' | awk '{n += $1} END {print n}'; }
export -f restic_ dump dumper
export W
restic -q -r "$W/restic" init
round() {
    step dump "$1" "$W/dump.sql" bash -c dump
    step mydumper "$1" "$W/dumper" bash -c dumper
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
sql "UPDATE accounts SET abalance = abalance + 1 WHERE aid % 100 = 7"
echo "one account in a hundred was changed"
round accounts
sql "UPDATE texts SET text = CONCAT(MD5(RAND()), MD5(RAND()), MD5(RAND()), REPEAT(MD5(RAND()), 3)) WHERE i % 100 = 7"
echo "one text in a hundred was changed"
round texts
awk '$1 == "ours" || $1 == "dump" || $1 == "mydumper" || $1 == "restic" {wall[$1, $2] = $3; steps[$2] = 1}
    END {for (step in steps) printf "%s: ours takes %.2f of the time of mariadb-dump, %.2f of mydumper, %.2f of mariadb-dump into restic\n", step, wall["ours", step] / wall["dump", step], wall["ours", step] / wall["mydumper", step], wall["ours", step] / wall["restic", step]}' "$W/rows"
