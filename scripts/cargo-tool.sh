# Sourced: installs a pinned tool of cargo into the cache ($TAFFRAIL_CACHE, default ${XDG_CACHE_HOME:-$HOME/.cache}/taffrail), once.
# shellcheck shell=bash
# shellcheck source=scripts/step.sh
. scripts/step.sh

# install_tool ROOT NAME VERSION: compiles a tool without optimisation, which takes half the time and is fast enough.
install_tool() {
  local root=$1 name=$2 version=$3 log=$1/install.log
  if ! env -u RUSTFLAGS -u MAKEFLAGS -u MFLAGS -u MAKELEVEL CARGO_TARGET_DIR="$root/target" cargo install --quiet --locked --debug --root "$root" \
    --version "$version" "$name" >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    echo "$name: cannot install version $version; the lines above are the end of $log" >&2
    return 1
  fi
  rm -rf "$root/target"
}

# cargo_tool NAME VERSION USUAL: sets `tool` to the path of the tool. Parallel calls wait for each other until the script ends.
cargo_tool() {
  local root=${TAFFRAIL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/taffrail}/$1-$2
  tool=$root/bin/$1
  mkdir -p "$root"
  exec 9>"$root/lock"
  flock 9
  [ -x "$tool" ] || step "$1 $2, once" "$3" install_tool "$root" "$1" "$2"
}
