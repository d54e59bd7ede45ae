# shellcheck shell=bash disable=SC2154 # the caller sets the variables
# Sourced by the scripts that build Go programs once into the cache (k8s-tools.sh, prometheus.sh). The caller sets:
#   tool       its name, for messages
#   module     the directory of go.mod
#   sources    an array of the files, relative to it, that decide the binaries: go.mod, go.sum and own sources
#   cache      where binaries, stamps and log go
#   flags      an array of flags for `go build`
#   packages   an associative array: the package of each command
#   usual      the usual time of a complete build
# go_build COMMAND... builds those commands that are missing or out of date and prints the directory of the binaries. Each command
# has a stamp of everything that decides it, so a later call for more commands builds only the rest, and a call with nothing to
# do costs nothing. Several calls at once are safe: the first builds, the others wait for it.
# shellcheck source=scripts/step.sh
. "$(dirname "${BASH_SOURCE[0]}")/step.sh"

say() { echo "$tool: $*" >&2; }
fail() { say "$*"; exit 1; }

stamp_of() { (cd "$module" && echo "$1 ${packages[$1]} ${flags[*]}" && cat "${sources[@]}") | sha256sum | cut -d' ' -f1; }

out_of_date() {
  local command
  for command in "$@"; do
    [ -x "$cache/bin/$command" ] && [ "$(cat "$cache/stamps/$command" 2>/dev/null)" = "$(stamp_of "$command")" ] || echo "$command"
  done
}

# The module names the Go that it needs; a Go that may fetch a newer one does so.
require_go() {
  command -v go >/dev/null || fail "Go is not installed; install Go 1.26 or newer (https://go.dev/dl) and run this again"
  (cd "$module" && go list -m >/dev/null 2>"$log") || fail "$(tail -n 1 "$log")"
}

# `go build -v` names each package that it compiles: the names go to the log, and a line now and then to the reader.
show_progress() {
  awk -v log_file="$log" -v tool="$tool" '{ print >> log_file; fflush(log_file) }
    /^[a-z0-9._-]+(\/|$)/ { if (++n % 250 == 0) { print tool ":   " n " packages compiled"; fflush() } }' >&2
}

build_commands() {
  local fresh=$cache/bin.new command package wanted=()
  rm -rf "$fresh"
  mkdir -p "$fresh" "$cache/bin" "$cache/stamps"
  : >"$log"
  for command in "$@"; do wanted+=("${packages[$command]}"); done
  (cd "$module" && CGO_ENABLED=0 go build -v "${flags[@]}" -o "$fresh/" "${wanted[@]}") 2>&1 | show_progress || {
    say "the build failed; its errors:"
    grep -m 10 -E '(^|: )(error|fatal|undefined|cannot|no required module)|\.go:[0-9]+:[0-9]+:|checksum mismatch|no space left' "$log" >&2 || true
    say "the end of $log:"
    tail -n 15 "$log" >&2
    exit 1
  }
  # A rename replaces each file whole: a cluster that runs the old binary keeps it, and nobody sees half a file.
  for command in "$@"; do
    package=${packages[$command]}
    mv -f "$fresh/$(basename "${package%/v[0-9]*}")" "$cache/bin/$command"
    stamp_of "$command" >"$cache/stamps/$command.new"
    mv -f "$cache/stamps/$command.new" "$cache/stamps/$command"
  done
  rm -rf "$fresh"
}

go_build() {
  local log=$cache/build.log missing
  mkdir -p "$cache"
  missing=$(out_of_date "$@")
  if [ -n "$missing" ]; then
    exec 9>"$cache/lock"
    flock --nonblock 9 || { say "another build is running; waiting for it"; flock 9; }
    missing=$(out_of_date "$@")
    if [ -n "$missing" ]; then
      require_go
      # shellcheck disable=SC2086 # one word for each command
      step "$tool: ${missing//$'\n'/ } from source" "$usual" build_commands $missing
    fi
  fi
  echo "$cache/bin"
}
