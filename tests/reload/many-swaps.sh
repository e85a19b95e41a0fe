#!/bin/sh
# 100,000 swaps under load and a look at memory, in a release build; hours. Another number as the first argument.
set -eu
cd "$(dirname "$0")/../.."
swaps="${1:-100000}"
TIDEMILL_SWAPS="$swaps" TIDEMILL_RECORDS="$((swaps * 40))" \
    cargo test --release --test reload swaps:: -- --nocapture --test-threads 1
