#!/usr/bin/env bash
# Checks that every path which a committed markdown page names exists. A path is the target of a link, or a word in backticks
# that ends like a source file or starts or ends like a folder (`file.rs::name` counts as file.rs). A link is resolved from the
# folder of its page; a word in backticks from the root of the repository or from the folder of its page. Addresses, anchors and
# code blocks are left out.
set -euo pipefail
cd "$(dirname "$0")/.."

files='[A-Za-z0-9_./-]*[A-Za-z0-9_]\.(rs|sh|py|md|toml|yaml|yml|proto)'
folders="[A-Za-z0-9_./-]+/|($(printf '%s\n' */ | grep -v '^target/$' | paste -sd'|'))[A-Za-z0-9_./-]*"
# The code blocks are emptied rather than removed, so that the numbers of the lines stay right.
text_of() { awk '/^ *```/ { fenced = !fenced; print ""; next } { print fenced ? "" : $0 }' "$1"; }
# LINE:PATH of each word in backticks of a page, and of each link.
words_of() { text_of "$1" | grep -noE "\`/?($files|$folders)(::[A-Za-z_:]+)?\`" | sed -E 's/`//g; s/::.*$//' || true; }
links_of() { text_of "$1" | grep -noE '\]\([^)]+\)' | sed -E 's/\]\(//; s/\)$//; s/#.*$//' | grep -vE '^[0-9]+:(https?:|mailto:|$)' || true; }

checked=0 missing=0
refuse() {
  echo "paths: $1 names $2, which does not exist" >&2
  missing=$((missing + 1))
}
while IFS= read -r page; do
  folder=$(dirname "$page")
  while IFS=: read -r line path; do
    [ -n "$path" ] || continue
    checked=$((checked + 1))
    # An absolute path belongs to another machine: /etc/taffrail/.
    [[ $path == /* ]] || [ -e "$path" ] || [ -e "$folder/$path" ] || refuse "$page:$line" "$path"
  done < <(words_of "$page")
  while IFS=: read -r line path; do
    [ -n "$path" ] || continue
    checked=$((checked + 1))
    [ -e "$folder/$path" ] || refuse "$page:$line" "$path"
  done < <(links_of "$page")
done < <(git ls-files --cached --others --exclude-standard '*.md')

# No path at all means that the pages could not be read, which must not pass.
[ "$checked" -gt 0 ] || { echo "paths: no page names a path" >&2; exit 1; }
[ "$missing" -eq 0 ]
