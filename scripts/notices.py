#!/usr/bin/env python3
"""Writes the licences and notices of all third-party software in the binaries `taffrail` and `taffrail-operator`.

    notices.py FILE      writes the notices to FILE
    notices.py --check   only checks that the notices are complete; used by `make check`

Covers all normal and build dependencies of both binaries on the platforms of the image, as resolved by `cargo tree`, and the C
and C++ code bundled in some crates. Licence texts come from the sources of the crates in cargo's registry. A crate published
without a licence text gets the text of a crate of the same repository, or the standard text of the declared licence. Exit code
0: each dependency has at least one licence text. 1: a dependency has no licence text.

The notices are not committed, because Cargo.lock and the registry determine the notices completely, and each update of a
dependency would change hundreds of lines. scripts/image.sh and the Containerfile generate the notices during the build of the
image.
"""
import os
import re
import subprocess
import sys

sys.dont_write_bytecode = True  # no __pycache__ in the checkout
import licences

BINARIES = ("taffrail-node", "taffrail-operator")
PLATFORMS = ("x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu")
LICENCE_FILE = re.compile(r"^(UN)?LICEN[CS]E|^COPYING|^COPYRIGHT|^NOTICE", re.I)
SOURCE_FILE = re.compile(r"\.(rs|c|h|cc|py|toml|sh|md\.tpl)$", re.I)

# Licence files below the top folder of a crate that apply to code in the binaries. If bundled code offers a choice of licences,
# the table lists the permissive licence. A crate with such files and without an entry is an error, so that bundled code cannot
# be overlooked.
BUNDLED = {
    "chrono-tz": ["tz/LICENSE"],
    "librocksdb-sys": [
        "rocksdb/LICENSE.Apache",
        "rocksdb/LICENSE.leveldb",
        "rocksdb/utilities/transactions/lock/range/range_tree/lib/COPYING.APACHEv2",
    ],
    "lz4-sys": ["liblz4/lib/LICENSE"],
    "petgraph": [],  # images of its documentation
    "regex-syntax": ["src/unicode_tables/LICENSE-UNICODE"],
    "ring": ["third_party/fiat/LICENSE", "src/polyfill/once_cell/LICENSE-APACHE", "src/polyfill/once_cell/LICENSE-MIT"],
    "tikv-jemalloc-sys": ["jemalloc/COPYING"],
    "tracing-core": ["src/spin/LICENSE"],
    "zstd-sys": ["zstd/LICENSE"],
}

MIT = """MIT License

{holders}

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated documentation
files (the "Software"), to deal in the Software without restriction, including without limitation the rights to use, copy,
modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit persons to whom the Software
is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT
HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""


def linked_packages():
    """Returns the third-party packages that are linked into a binary or run during its build, by name and version."""
    wanted = set()
    for platform in PLATFORMS:
        command = ["cargo", "tree", "--locked", "--edges", "normal,build", "--prefix", "none", "--target", platform]
        command += [word for binary in BINARIES for word in ("--package", binary)]
        done = subprocess.run(command, cwd=licences.ROOT, stdout=subprocess.PIPE, text=True)
        if done.returncode:
            raise licences.Unreadable(f"`{' '.join(command)}` failed; see its output above")
        wanted |= {tuple(line.split()[:2]) for line in done.stdout.splitlines() if line}
    packages = licences.cargo_metadata()["packages"]
    known = {(package["name"], "v" + package["version"]) for package in packages}
    if not wanted or not wanted <= known:
        raise licences.Unreadable(f"cargo tree names packages that cargo metadata lacks: {sorted(wanted - known)}")
    found = {(p["name"], p["version"]): p for p in packages if p["source"] and (p["name"], "v" + p["version"]) in wanted}
    return [found[key] for key in sorted(found)]


def folder_of(package):
    return os.path.dirname(package["manifest_path"])


def licence_files(folder):
    """Returns the licence files in the top folder of a crate, and the licence files below."""
    top, below = [], []
    for parent, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted(files):
            if LICENCE_FILE.match(name) and not SOURCE_FILE.search(name):
                path = os.path.relpath(os.path.join(parent, name), folder)
                (top if parent == folder else below).append(path)
    return top, below


def read(path):
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read().strip("\n") + "\n"


def repository_of(package):
    """Returns the normalised repository of a crate: without protocol, suffix and folder, which differ between its crates."""
    found = re.search(r"//([^/]+/[^/]+/[^/]+)", package["repository"] or "")
    return found.group(1).removesuffix(".git").lower() if found else None


def texts_of(package, packages):
    """Returns (origin, text) of each licence text of a package; empty if no text can be found."""
    folder = folder_of(package)
    top, below = licence_files(folder)
    bundled = BUNDLED.get(package["name"], [])
    unknown = [path for path in below if package["name"] not in BUNDLED]
    if unknown:
        raise licences.Unreadable(
            f"{package['name']} bundles code with separate licences ({', '.join(unknown)}); list the applicable licences in BUNDLED"
        )
    for path in bundled:
        if path not in below:
            raise licences.Unreadable(f"{package['name']} {package['version']} has no file {path}; correct the entry in BUNDLED")
    own = [(path, read(os.path.join(folder, path))) for path in top]
    if not own:
        own = borrowed(package, packages) or standard(package)
    return own + [(path, read(os.path.join(folder, path))) for path in bundled] if own else []


def borrowed(package, packages):
    """Returns the licence texts of another crate of the same repository with the same declared licence."""
    repository = repository_of(package)
    for other in packages:
        if repository and repository_of(other) == repository and other["license"] == package["license"]:
            top, _ = licence_files(folder_of(other))
            if top:
                return [(f"{other['name']}: {path}", read(os.path.join(folder_of(other), path))) for path in top]
    return []


def standard(package):
    """Returns the standard text of the declared licence of a crate; of several choices, Apache-2.0 first."""
    declared = package["license"] or ""
    if licences.is_allowed(declared, {"Apache-2.0"}):
        return [("standard text of Apache-2.0", read(os.path.join(licences.ROOT, "LICENSE")))]
    if licences.is_allowed(declared, {"MIT"}):
        holders = package["authors"] or [f"the authors of {package['name']}"]
        return [("standard text of MIT", MIT.format(holders="\n".join(f"Copyright (c) {name}" for name in holders)))]
    return []


def notices(packages):
    """Returns the page of notices, with each text once, and the packages without a text."""
    without, entries, texts = [], [], {}

    def number_of(text):
        # Texts that differ only in white space count as equal.
        return texts.setdefault(" ".join(text.split()), (len(texts) + 1, text))[0]

    for package in packages:
        found = texts_of(package, packages)
        if not found:
            without.append(package)
        entries.append(
            f"{package['name']} {package['version']}\n  {package['license']}\n  {package['repository'] or 'no repository named'}\n"
            + "".join(f"  [{number_of(text)}] {origin}\n" for origin, text in found)
        )
    apache = number_of(read(os.path.join(licences.ROOT, "LICENSE")))
    entries.append(
        "The Rust standard library\n  MIT OR Apache-2.0\n  https://github.com/rust-lang/rust\n"
        f"  [{apache}] standard text of Apache-2.0\n"
    )
    page = [
        "Third-party software in the binaries taffrail and taffrail-operator\n\n"
        "First the packages, each with its licence, its repository and the numbers of its texts; then the texts.\n\n"
    ]
    page += [entry + "\n" for entry in entries]
    for number, text in sorted(texts.values()):
        page.append(f"{'=' * 100}\n[{number}]\n\n{text}\n")
    return "".join(page), without


def main():
    if len(sys.argv) != 2 or sys.argv[1].startswith("-") and sys.argv[1] != "--check":
        print("usage: notices.py FILE | --check", file=sys.stderr)
        return 2
    try:
        packages = linked_packages()
        page, without = notices(packages)
    except (licences.Unreadable, OSError) as error:
        print(f"notices: {error}", file=sys.stderr)
        return 2
    for package in without:
        print(
            f"notices: {package['name']} {package['version']} ({package['license']}) has no licence text in its sources,"
            " and no standard text is known for its licence",
            file=sys.stderr,
        )
    if without or not packages:
        return 1
    if sys.argv[1] != "--check":
        with open(sys.argv[1], "w", encoding="utf-8") as file:
            file.write(page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
