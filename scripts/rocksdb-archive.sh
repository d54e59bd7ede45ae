#!/usr/bin/env bash
# Builds librocksdb.a once into the cache, outside the checkout, and prints the folder of the archive. Cargo links the archive
# (ROCKSDB_LIB_DIR) instead of compiling RocksDB in every target directory.
#
# Sources, definitions and flags equal the build script of the crate librocksdb-sys (release profile, features lz4 and zstd), with
# one difference: several source files form a translation unit, because most of the build time is spent on parsing the same
# headers and instantiating the same templates. Two cores need 7 minutes instead of 13.
#
# A unit is correct only if no file changes the meaning of another file. Three kinds of leaks are possible:
#   - Names: static functions and anonymous namespaces of the files share a scope. Equal names are a compile error.
#   - Overloads: two files define local functions with the same name and different parameters, and a call selects the function of
#     the wrong file. The units of RocksDB 11.8.1 have no such overloads, according to the local symbols of a build without
#     inlining.
#   - Macros: a macro stays defined for all following files of the unit. `rocksdb-archive.sh --check` compares the preprocessed
#     text of every file, alone and in its unit, and lists the files with differences. Run the check after an update of the crate.
# The list `apart` names files with leaks, which are compiled alone; RocksDB 11.8.1 has no such file.
#
# The name of the folder contains all inputs of the archive: versions of the crates, compiler, machine, and the functions of this
# script that build the archive (without comments and messages, so that a change of a message does not cause a rebuild).
set -euo pipefail
cd "$(dirname "$0")/.."
cache=${TAFFRAIL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/taffrail}
cxx=${CXX:-c++}
expected="7 min on two cores, 11 min beside another build"

say() { echo "rocksdb-archive: $*" >&2; }
fail() { say "$*"; exit 1; }
# shellcheck source=scripts/step.sh
. scripts/step.sh

# version CRATE: prints the version of the crate in Cargo.lock.
version() { awk -v crate="$1" '$1 == "name" { found = $3 == "\"" crate "\"" } found && $1 == "version" { gsub(/"/, "", $3); print $3; exit }' Cargo.lock; }

flags() {
  local flags=""
  # Instructions for CRC32C and carry-less multiplication, which all x86-64 servers of the last decade have, speed up checksums.
  [ "$(uname -m)" = x86_64 ] && flags="-msse4.2 -mpclmul"
  [ "$(uname -m)" = x86_64 ] && echo "-m64 -msse2"
  echo "$flags -std=c++20 -O3 -ffunction-sections -fdata-sections -fPIC -w -include cstdint
    -DNDEBUG=1 -DLZ4=1 -DZSTD=1 -DHAVE_ALIGNED_NEW -DHAVE_UINT128_EXTENSION
    -DOS_LINUX -DROCKSDB_PLATFORM_POSIX -DROCKSDB_LIB_IO_POSIX -DROCKSDB_SCHED_GETCPU_PRESENT
    -DROCKSDB_AUXV_GETAUXVAL_PRESENT -DROCKSDB_FALLOCATE_PRESENT -DROCKSDB_RANGESYNC_PRESENT
    -I$1/rocksdb/include -I$1/rocksdb -I$1 -I$2/liblz4/lib -I$3/zstd/lib"
}

# units SOURCES DIRECTORY: writes the translation units. A unit joins neighbours in the crate's list, up to 6,000 lines.
units() {
  awk -v root="$1" -v out="$2" -v limit=6000 -v apart=" $apart " '
    function add(file) { printf "#include \"%s\"\n", file > sprintf("%s/unit%03d.cc", out, unit) }
    $1 == "" || $1 == "util/build_version.cc" { next }    # the crate has a generated one, see the end
    {
      file = root "/rocksdb/" $1; lines = 0
      while ((getline line < file) > 0) lines++
      close(file)
      if (index(apart, " " $1 " ")) { alone++; printf "#include \"%s\"\n", file > sprintf("%s/alone%03d.cc", out, alone); next }
      if (unit == 0 || sum + lines > limit) { unit++; sum = 0 }
      sum += lines
      add(file)
    }
    END { unit++; add(root "/build_version.cc") }' "$1/rocksdb_lib_sources.txt"
}
apart=""

# compile DIRECTORY JOBS: compiles all units, largest first, and creates the archive of the objects.
compile() {
  local dir=$1
  # shellcheck disable=SC2016 # the inner shell expands the variables
  du -bL "$dir"/*.size | sort -rn | cut -f2 | sed 's/\.size$//' |
    xargs -P "$2" -I{} sh -c '"$0" @"$1/flags" -c "$2.cc" -o "$2.o" >"$2.log" 2>&1 || { echo "$2" >>"$1/failed"; exit 255; }' \
      "$cxx" "$dir" {} 2>/dev/null || return 1
  ar crs "$dir/librocksdb.a" "$dir"/*.o
}

# sources CRATE: prints the folder with the unpacked sources of a crate.
sources() {
  local manifest
  manifest=$(jq -r --arg crate "$1" '.packages[] | select(.name == $crate) | .manifest_path' "$work/metadata.json")
  [ -n "$manifest" ] || fail "cargo metadata does not list the crate $1"
  dirname "$manifest"
}

prepare() {
  local rocksdb lz4 zstd
  type -P jq >/dev/null || fail "jq is not installed; run scripts/deps.sh"
  rm -rf "$work"
  mkdir -p "$work"
  cargo metadata --locked --format-version 1 >"$work/metadata.json" 2>"$work/metadata.log" ||
    { tail -n 15 "$work/metadata.log" >&2; fail "cargo metadata failed; the lines above are its output"; }
  rocksdb=$(sources librocksdb-sys)
  lz4=$(sources lz4-sys)
  zstd=$(sources zstd-sys)
  flags "$rocksdb" "$lz4" "$zstd" >"$work/flags"
  units "$rocksdb" "$work"
  local unit
  for unit in "$work"/*.cc; do
    sed -E 's/#include "(.*)"/\1/' "$unit" | xargs cat >"${unit%.cc}.size"
  done
}

build() {
  prepare
  if ! compile "$work" "$(nproc)"; then
    if [ -e "$work/failed" ]; then explain_failure; fi
    fail "the archive could not be built; the logs are in $work"
  fi
  mv "$work/librocksdb.a" "$out/librocksdb.a"
  rm -rf "$work"
}

explain_failure() {
  local unit
  while read -r unit; do
    say "the compiler failed on the unit $unit.cc, which includes:"
    sed -E 's/^#include "(.*)"$/  \1/' "$unit.cc" >&2
    say "the first errors of the unit:"
    grep -m 10 -E '(error|Error|Killed|No space)' "$unit.log" >&2 || true
    say "the end of $unit.log:"
    tail -n 15 "$unit.log" >&2
  done <"$work/failed"
}

# own_text FILE: filters preprocessed text on standard input, and prints only the text that comes from FILE.
own_text() { awk -v file="\"$1\"" '/^# [0-9]+ "/ { own = $3 == file; next } own && NF' | tr -s ' \t\n' '\n'; }

check() {
  local unit file leaks=0
  for unit in "$work"/*.cc; do
    "$cxx" @"$work/flags" -E "$unit" >"$work/unit.i"
    while read -r file; do
      "$cxx" @"$work/flags" -E "$file" >"$work/file.i"
      cmp -s <(own_text "$file" <"$work/unit.i") <(own_text "$file" <"$work/file.i") ||
        { say "the preprocessed text of $file differs in the unit $unit"; leaks=$((leaks + 1)); }
    done < <(sed -E 's/#include "(.*)"/\1/' "$unit")
  done
  [ "$leaks" -eq 0 ] || fail "$leaks files are affected by macros of another file: add these files, or the file that defines the macro, to the list 'apart'"
  say "no file is affected by macros of another file"
}

compiler=$("$cxx" -dumpfullversion -dumpversion 2>/dev/null) || fail "no C++ compiler ($cxx) found; run scripts/deps.sh"
rocksdb_version=$(version librocksdb-sys)
[ -n "$rocksdb_version" ] || fail "Cargo.lock does not contain the crate librocksdb-sys"
recipe=$({ declare -f flags units compile; echo "$apart $cxx $(uname -m) $(version lz4-sys) $(version zstd-sys)"; } | sha256sum | cut -c1-12)
out="$cache/rocksdb/$rocksdb_version-lz4-zstd-$(basename "$cxx")$compiler-$recipe"
work="$out/build"

if [ "${1:-}" = --check ]; then
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  prepare
  check
  exit
fi
if [ ! -e "$out/librocksdb.a" ]; then
  mkdir -p "$out"
  exec 9>"$out/.lock"
  flock --nonblock 9 || { say "another build is running; waiting for it"; flock 9; }
  if [ ! -e "$out/librocksdb.a" ]; then
    step "RocksDB $rocksdb_version, once, into $out" "$expected" build
  fi
fi
# Plain `cargo` uses this link, see .cargo/config.toml. A failure is ignored, because the checkout may be read-only.
if [ "$(readlink .rocksdb)" != "$out" ]; then ln -sfn "$out" .rocksdb 2>/dev/null || true; fi
echo "$out"
