# What the benchmarks beside peers share; sourced. They have set W, the folder to work in.

# Runs a tool's step and prints a row: wall, user+system, peak memory, size of the repository; `rows` in W gets it too.
step() {
    local tool=$1 name=$2 repo=$3
    shift 3
    sync
    /usr/bin/time -o "$W/t" -f '%e %U %S %M' "$@" >"$W/out" 2>&1
    local rc=$?
    read -r e u s m < <(tail -1 "$W/t")
    local mb
    mb=$(du -sm "$repo" 2>/dev/null | cut -f1)
    echo "$tool $name $e $mb $((m / 1024))" >> "$W/rows"
    printf '%-9s %-10s wall=%7.2f cpu=%7.2f rss_mb=%5d repo_mb=%6d rc=%d\n' "$tool" "$name" "$e" "$(echo "$u+$s" | bc)" $((m / 1024)) "$mb" $rc
}

# Writes an identity and a node file that captures a folder: node_file STATE FOLDER
node_file() {
    age-keygen -o "$W/identity" 2>/dev/null
    cat > "$W/node.toml" <<EOF
cluster = "bench"
[node]
name = "bench"
state = "$1"
[seal]
recipients = ["$(age-keygen -y "$W/identity")"]
[[dataset]]
name = "bench"
every = "60m"
[[dataset.source]]
recipe = "files"
paths = ["$2"]
EOF
}
