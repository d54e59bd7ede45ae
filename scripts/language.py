#!/usr/bin/env python3
"""Measures the language of comments and documentation, and fails if a figure exceeds its ceiling.

    language.py [--tree DIR] [--per-crate] [--per-file] [--headings]
    language.py [--tree DIR] --list vague|what|short|see PATH ...

Exit code 0: all figures are within their ceilings. 1: a figure exceeds its ceiling. 2: wrong usage, or nothing to measure.

Rust, all comments of production code. Production code is every `.rs` file outside folders named `tests`, except files named
`tests.rs` or `*_tests.rs`; modules under `#[cfg(test)]` inside a file are ignored. Benchmarks, end-to-end tooling and the
simulator count as production code. Comments are found by a scan of the source that knows strings and characters, so a `//`
inside a string is no comment. Lines inside code fences of documentation are left out.

  vague   vague pronouns (VAGUE below) per 100 words of `///`, `//!` and `//` comments. A word starts with a letter; words in
          backticks count as well, and so does "that" as a conjunction.
  what    percentage of sentences that begin with a question word (QUESTION below). A sentence ends at `.`, `!` or `?`
          followed by a space and a capital letter, at an empty comment line and at the end of the comment. A heading is the
          beginning of the sentence below the heading, as in the first measurement.
  short   percentage of non-empty lines of `///` and `//!` that have at most two words. Headings (`# Errors`) are no lines;
          `--headings` counts them, which adds about 5 percentage points.
  see     occurrences of "See the module." in every `.rs` file, tests included.

Text outside Rust is measured the same way: comments of `.proto` files, comments and descriptions of YAML (charts, CRDs) and
prose of markdown pages (code blocks, tables' rulers and lines of code left out; generated pages are included).
"""
import argparse
import os
import re
import sys

# Upper bounds of the figures. A change may lower a bound, but never raise a bound.
CEILINGS = {
    "rust": {"vague": 1.5, "what": 0.1, "short": 0.2, "see": 0},
    "proto": {"vague": 1.6, "what": 0.1},
    "yaml": {"vague": 3.0, "what": 5.0},
    "markdown": {"vague": 2.0, "what": 0.4},
}

VAGUE = frozenset("it its they them that those what one which whoever others here there".split())
QUESTION = frozenset(
    "what who where which when why how whose whoever whatever wherever whether".split()
)
SKIPPED_FOLDERS = {".git", "target", "node_modules"}

WORD = re.compile(r"[A-Za-z][A-Za-z'_]*")
SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z])")
TEST_FILE = re.compile(r"(^|/)tests(/|\.rs$)|_tests\.rs$")
TEST_MODULE = re.compile(r"^([ \t]*)#\[cfg\(test\)\]\s*\n(?:\s*#\[.*\]\s*\n)*\s*(?:pub(?:\(\w+\))? )?mod \w+ \{", re.M)
RAW_STRING = re.compile(r'(?:br|cr|r)(#*)"')
CHARACTER = re.compile(r"'(\\(?:u\{[^}]*\}|x..|.)|[^\\'\n])'")


class Figures:
    """Sums for a file, a crate or a kind of text."""

    def __init__(self):
        self.words = self.vague = self.sentences = self.what = self.lines = self.short = self.see = 0

    def add(self, other):
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)

    def rates(self):
        def percent(part, whole):
            return 100.0 * part / whole if whole else 0.0

        return {
            "vague": percent(self.vague, self.words),
            "what": percent(self.what, self.sentences),
            "short": percent(self.short, self.lines),
            "see": self.see,
        }


def rust_comments(source):
    """Returns (line, marker, text) of each line comment; block comments are not used in this repository."""
    found, at, line, end = [], 0, 1, len(source)
    while at < end:
        char = source[at]
        if char == "\n":
            line, at = line + 1, at + 1
        elif source.startswith("//", at):
            stop = source.find("\n", at)
            stop = end if stop < 0 else stop
            text = source[at:stop]
            marker = "//"
            if text.startswith("//!") or (text.startswith("///") and not text.startswith("////")):
                marker = text[:3]
            found.append((line, marker, text[len(marker):].strip()))
            at = stop
        elif source.startswith("/*", at):
            stop = source.find("*/", at + 2)
            stop = end if stop < 0 else stop + 2
            line, at = line + source.count("\n", at, stop), stop
        elif char == '"':
            stop = at + 1
            while stop < end and source[stop] != '"':
                stop += 2 if source[stop] == "\\" else 1
            line, at = line + source.count("\n", at, stop), stop + 1
        elif char in "rbc" and not (at and (source[at - 1].isalnum() or source[at - 1] == "_")) and (
            raw := RAW_STRING.match(source, at)
        ):
            stop = source.find('"' + raw.group(1), raw.end())
            stop = end if stop < 0 else stop + 1 + len(raw.group(1))
            line, at = line + source.count("\n", at, stop), stop
        elif char == "'":
            literal = CHARACTER.match(source, at)
            at = literal.end() if literal else at + 1
        else:
            at += 1
    return found


def test_lines(source):
    """Returns the line ranges of modules under `#[cfg(test)]`."""
    ranges = []
    for module in TEST_MODULE.finditer(source):
        close = re.compile(r"^%s\}" % module.group(1), re.M).search(source, module.end())
        stop = close.end() if close else len(source)
        ranges.append((source.count("\n", 0, module.start()) + 1, source.count("\n", 0, stop) + 1))
    return ranges


def paragraphs_of(lines):
    """Groups (line, marker, text) into paragraphs, lists of (line, text), without code fences."""
    groups, last, fenced = [], None, False
    for line, marker, text in lines:
        joined = last == (line - 1, marker)
        if not joined:
            fenced = False
        if text.startswith("```"):
            fenced, last = not fenced, (line, marker)
            groups.append([])
            continue
        last = (line, marker)
        if fenced:
            continue
        if not text:
            groups.append([])
            continue
        if not joined or not groups:
            groups.append([])
        groups[-1].append((line, text))
    return [group for group in groups if group]


def sentences_of(paragraph):
    """Returns (line, sentence) of a paragraph, with the first line of each sentence."""
    starts, text = [], ""
    for line, part in paragraph:
        starts.append((len(text), line))
        text += part + " "
    found, at = [], 0
    for sentence in SENTENCE_END.split(text.strip()):
        at = text.index(sentence, at)
        found.append((max(line for start, line in starts if start <= at or start == 0), sentence))
        at += len(sentence)
    return found


def bare(word):
    return word.lower().removesuffix("'s")


def measure_paragraphs(paragraphs, findings=None):
    figures = Figures()
    for paragraph in paragraphs:
        for line, text in paragraph:
            words = [bare(word) for word in WORD.findall(text)]
            vague = [word for word in words if word in VAGUE]
            figures.words += len(words)
            figures.vague += len(vague)
            if vague and findings is not None:
                findings.append((line, "vague", "%s  [%s]" % (text, ", ".join(vague))))
        for line, sentence in sentences_of(paragraph):
            figures.sentences += 1
            first = WORD.match(sentence)
            if first and bare(first.group()) in QUESTION:
                figures.what += 1
                if findings is not None:
                    findings.append((line, "what", sentence))
    return figures


def measure_rust(path, source, findings=None, headings=False):
    figures = Figures()
    figures.see = source.count("See the module.")
    if findings is not None:
        findings += [(n, "see", text.strip()) for n, text in enumerate(source.split("\n"), 1) if "See the module." in text]
    if TEST_FILE.search(path):
        return figures
    hidden = test_lines(source)
    comments = [c for c in rust_comments(source) if not any(a <= c[0] <= b for a, b in hidden)]
    paragraphs = paragraphs_of(comments)
    figures.add(measure_paragraphs(paragraphs, findings))
    documentation = {line for line, marker, _ in comments if marker != "//"}
    for line, text in (entry for paragraph in paragraphs for entry in paragraph):
        if line in documentation and (headings or not text.startswith("#")):
            figures.lines += 1
            if len(text.split()) <= 2:
                figures.short += 1
                if findings is not None:
                    findings.append((line, "short", text))
    return figures


def proto_paragraphs(source):
    return paragraphs_of([(line, "//", text) for line, _, text in rust_comments(source)])


def yaml_paragraphs(source):
    """Returns the comments of YAML files, and the values of the keys `description` and `message`, with continuation lines."""
    lines, inside = [], None
    for number, raw in enumerate(source.split("\n"), 1):
        text, indent = raw.strip(), len(raw) - len(raw.lstrip())
        if inside is not None and text and indent > inside:
            lines.append((number, "description", text.strip("'\"")))
            continue
        inside = None
        key = re.match(r"(?:- )?(?:description|message):\s*(.*)", text)
        if text.startswith("#"):
            lines.append((number, "#", text.lstrip("#").strip()))
        elif key:
            inside = indent
            value = key.group(1)
            lines.append((number, "description", "" if value in ("|", ">", "|-", ">-") else value.strip("'\"")))
    return paragraphs_of(lines)


def markdown_paragraphs(source):
    lines, fenced = [], False
    for number, raw in enumerate(source.split("\n"), 1):
        text = raw.strip()
        if text.startswith("```"):
            fenced = not fenced
            text = ""
        if fenced or re.fullmatch(r"[|\s:-]*", text):
            text = ""
        lines.append((number, "md", "" if text.startswith("```") else text.lstrip("#>*- ").strip()))
        if re.match(r"[#|*-]|\d+\.", text):
            lines.append((number, "md", ""))
    return paragraphs_of(lines)


def measure_text(paragraphs_in):
    return lambda path, source, findings=None: measure_paragraphs(paragraphs_in(source), findings)


MEASURES = {
    ".rs": ("rust", measure_rust),
    ".proto": ("proto", measure_text(proto_paragraphs)),
    ".yaml": ("yaml", measure_text(yaml_paragraphs)),
    ".tpl": ("yaml", measure_text(yaml_paragraphs)),
    ".md": ("markdown", measure_text(markdown_paragraphs)),
}


def files_of(tree):
    for folder, folders, files in os.walk(tree):
        folders[:] = sorted(name for name in folders if name not in SKIPPED_FOLDERS)
        for name in sorted(files):
            if os.path.splitext(name)[1] in MEASURES:
                yield os.path.relpath(os.path.join(folder, name), tree)


def read(tree, path):
    with open(os.path.join(tree, path), encoding="utf-8") as file:
        return file.read()


def crate_of(tree, path):
    folder = os.path.dirname(path)
    while folder and not os.path.exists(os.path.join(tree, folder, "Cargo.toml")):
        folder = os.path.dirname(folder)
    return folder or "."


def print_table(heading, rows):
    print("%-52s %7s %6s %6s %6s %6s %6s %4s" % (heading, "words", "vague", "%what", "lines", "short", "%short", "see"))
    for name, figures in rows:
        rates = figures.rates()
        print(
            "%-52s %7d %6.1f %6.1f %6d %6d %6.1f %4d"
            % (name, figures.words, rates["vague"], rates["what"], figures.lines, figures.short, rates["short"], figures.see)
        )


def list_findings(tree, kind, paths):
    for path in paths:
        wanted = os.path.relpath(path, tree) if os.path.isabs(path) else os.path.normpath(path)
        below = [p for p in files_of(tree) if p == wanted or p.startswith(wanted + "/")]
        if not below:
            print("language: %s contains no measured file" % path, file=sys.stderr)
            return 2
        for file in below:
            findings = []
            MEASURES[os.path.splitext(file)[1]][1](file, read(tree, file), findings)
            for line, what, text in sorted(findings):
                if what == kind:
                    print("%s:%d: %s" % (file, line, text))
    return 0


def main():
    parser = argparse.ArgumentParser(description="Measures the language of comments and documentation.")
    parser.add_argument("--tree", default=os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
    parser.add_argument("--per-file", action="store_true", help="one line for each Rust file, worst first")
    parser.add_argument("--per-crate", action="store_true", help="one line for each crate, worst first")
    parser.add_argument("--headings", action="store_true", help="count headings as lines")
    parser.add_argument("--list", choices=["vague", "what", "short", "see"], help="print the lines that count")
    parser.add_argument("paths", nargs="*", help="files or folders for --list, relative to the tree")
    args = parser.parse_args()
    tree = os.path.normpath(args.tree)
    if bool(args.list) != bool(args.paths):
        parser.error("--list needs at least one file or folder, and only --list takes any")
    if args.list:
        return list_findings(tree, args.list, args.paths)

    kinds = {kind: Figures() for kind in CEILINGS}
    files, crates = {}, {}
    for path in files_of(tree):
        kind, measure = MEASURES[os.path.splitext(path)[1]]
        options = {"headings": args.headings} if kind == "rust" else {}
        figures = measure(path, read(tree, path), **options)
        kinds[kind].add(figures)
        if kind == "rust":
            files[path] = figures
            crates.setdefault(crate_of(tree, path), Figures()).add(figures)
    if not kinds["rust"].words:
        print("language: %s contains no Rust comments" % tree, file=sys.stderr)
        return 2

    def worst_first(table):
        return sorted(table.items(), key=lambda entry: (-entry[1].rates()["vague"], entry[0]))

    if args.per_file:
        print_table("file", [(n, f) for n, f in worst_first(files) if f.words or f.see])
        print()
    if args.per_crate:
        print_table("crate", worst_first(crates))
        print()
    print_table("all of", kinds.items())

    above = 0
    for kind, ceilings in CEILINGS.items():
        rates = kinds[kind].rates()
        for name, ceiling in ceilings.items():
            # Compares the rounded figure, so that the comparison agrees with the printed line.
            if ceiling is not None and round(rates[name], 1) > ceiling:
                above += 1
                print("language: %s: %s is %.1f, above the ceiling of %g" % (kind, name, rates[name], ceiling), file=sys.stderr)
    return 1 if above else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BrokenPipeError:
        # The reader of the output, such as `head`, has closed the pipe.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
