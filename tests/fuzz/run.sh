#!/usr/bin/env bash
# Fuzzes for a time, beginning with what earlier runs kept: run.sh SECONDS TARGET, from `make fuzz`.
set -euo pipefail
seconds=$1 target=$2
cd build/fuzz
mkdir -p "corpus/$target"
if ! "./$target" -max_total_time="$seconds" -max_len=4096 -artifact_prefix="found-$target-" \
  $([ ! -f "../../tests/fuzz/$target.dict" ] || echo "-dict=../../tests/fuzz/$target.dict") \
  "corpus/$target" "seeds/$target" >"$target.log" 2>&1; then
  tail -n 40 "$target.log"
  echo "Fuzzing $target found a fault (above). To see it again: build/fuzz/$target build/fuzz/found-…" \
    "Once it is mended, put the input into tests/fuzz/write_seeds.py."
  exit 1
fi
echo "$target: $(tail -n 1 "$target.log"), $(ls "corpus/$target" | wc -l) inputs kept"
