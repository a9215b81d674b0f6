#!/usr/bin/env bash
# From the death of the active's whole host to the customer who is served again, through the address and through the name: address.sh [TIMES]
#
# Ours in fresh clusters of three with the profile `fast`, by the test that checks it besides (data imported, services started, nobody served by two); keepalived's address
# alone, with the service running on both hosts already, in the same kind of namespaces, killed the same way, asked by the same kind of client. Needs root; both
# cores to itself.
set -eu
cd "$(dirname "$0")/../.."
times=${1:-20}
cargo build --locked --workspace --bins --quiet
RESILIENT_ROUNDS=$times cargo test --locked --workspace --quiet --test takeover -- --nocapture timed_a_dead_host | grep 'hosts died'
"${CARGO_TARGET_DIR:-target}/debug/beside" keepalived "$times"
