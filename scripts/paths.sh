#!/usr/bin/env bash
# Checks that every path in a markdown page exists. A path is:
#   - the target of a link, relative to the folder of the page;
#   - a word in backticks that looks like a source file or a folder, relative to the root of the repository or to the folder of
#     the page (`file.rs::name` counts as file.rs).
# URLs, anchors and code blocks are ignored.
set -euo pipefail
cd "$(dirname "$0")/.."

files='[A-Za-z0-9_./-]*[A-Za-z0-9_]\.(rs|sh|py|md|toml|yaml|yml|proto)'
folders="[A-Za-z0-9_./-]+/|($(printf '%s\n' */ | grep -v '^target/$' | paste -sd'|'))[A-Za-z0-9_./-]*"
# Empties code blocks instead of removing the lines, so that line numbers stay correct.
text_of() { awk '/^ *```/ { fenced = !fenced; print ""; next } { print fenced ? "" : $0 }' "$1"; }
# words_of and links_of print LINE:PATH for each word in backticks and for each link of a page.
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
    # An absolute path such as /etc/taffrail/ is a path on a user's machine.
    [[ $path == /* ]] || [ -e "$path" ] || [ -e "$folder/$path" ] || refuse "$page:$line" "$path"
  done < <(words_of "$page")
  while IFS=: read -r line path; do
    [ -n "$path" ] || continue
    checked=$((checked + 1))
    [ -e "$folder/$path" ] || refuse "$page:$line" "$path"
  done < <(links_of "$page")
done < <(git ls-files --cached --others --exclude-standard '*.md')

# Finding no path at all means that the pages could not be read.
[ "$checked" -gt 0 ] || { echo "paths: no path found in any page; the pages could not be read" >&2; exit 1; }
[ "$missing" -eq 0 ]
