#!/usr/bin/env bash
# Every path that ARCHITECTURE.md and README.md name must be there, seen from the root of the repository: a page that leads
# nowhere is worse than none. A path is what a link leads to, and what stands in backticks and ends like a file of ours or
# starts or ends as a folder does (`file.rs::name` counts as file.rs).
set -euo pipefail
cd "$(dirname "$0")/.."

files='[A-Za-z0-9_./-]*[A-Za-z0-9_]\.(rs|sh|md|toml|yaml|proto)'
folders="[A-Za-z0-9_./-]+/|($(printf '%s\n' */ | grep -v '^target/$' | paste -sd'|'))[A-Za-z0-9_./-]*"

# LINE:PATH of each path of a page.
paths_of() {
  grep -noE "\`($files|$folders)(::[a-z_]+)?\`|\]\([^):#]+" "$1" | sed -E 's/`|\]\(//g; s/::[a-z_]+$//'
}

missing=0
for page in ARCHITECTURE.md README.md; do
  # A page without any means that it could not be read, which must not pass as clean.
  named=$(paths_of "$page") || { echo "paths: $page names no path" >&2; exit 1; }
  while IFS=: read -r line path; do
    [ -e "$path" ] || {
      echo "paths: $page:$line names $path, which does not exist" >&2
      missing=$((missing + 1))
    }
  done <<<"$named"
done
[ "$missing" -eq 0 ]
