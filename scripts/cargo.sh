#!/usr/bin/env bash
# cargo with the cached RocksDB archive: linking it takes seconds, compiling it takes a quarter of an hour.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
case "${1:-}" in
  fmt) ;;
  *)
    ROCKSDB_LIB_DIR=$("$here/rocksdb-archive.sh")
    export ROCKSDB_LIB_DIR ROCKSDB_STATIC=1
    ;;
esac
exec cargo "$@"
