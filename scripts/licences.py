#!/usr/bin/env python3
"""Enforces the rules of deny.toml for licences, sources and bans, offline and without cargo-deny.

    licences.py [--rules FILE] [--metadata FILE]

`--metadata` reads the output of `cargo metadata --format-version 1` from a file instead of running cargo. Prints one line for
each violation. Exit code 0: no violation. 1: violations. 2: the rules or the dependencies cannot be read.

Two rules are stricter than in cargo-deny: a crate with `deny-multiple-versions` must be present, and an unknown setting in
deny.toml is an error, so that both tools always enforce the same rules.
"""
import argparse
import json
import os
import re
import subprocess
import sys
import tomllib

ROOT = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

# Supported settings of deny.toml, each with the type of its value or the only supported value.
KNOWN = {
    "graph": {"all-features": True},
    "advisories": None,  # needs the network, so only cargo-deny checks advisories
    "licenses": {"allow": list, "include-dev": True, "unused-allowed-license": "allow"},
    "sources": {"unknown-registry": "deny", "unknown-git": "deny", "allow-registry": list},
    "bans": {"multiple-versions": "allow", "multiple-versions-include-dev": True, "deny": list},
}
KNOWN_BAN = {"crate", "reason", "deny-multiple-versions"}


class Unreadable(Exception):
    """The rules or the dependencies cannot be read."""


def rules_of(path):
    with open(path, "rb") as file:
        rules = tomllib.load(file)
    for section, settings in rules.items():
        if section not in KNOWN:
            raise Unreadable(f"{path}: section [{section}] is not enforced by scripts/licences.py")
        for key, value in settings.items() if KNOWN[section] is not None else ():
            wanted = KNOWN[section].get(key)
            if wanted is None or not (isinstance(value, list) if wanted is list else value == wanted):
                raise Unreadable(f"{path}: {section}.{key} = {value!r} is not enforced by scripts/licences.py")
    for ban in rules["bans"]["deny"]:
        if not set(ban) <= KNOWN_BAN or "crate" not in ban:
            raise Unreadable(f"{path}: bans.deny: the entry {ban} is not enforced by scripts/licences.py")
    return rules


def cargo_metadata(*arguments):
    command = ["cargo", "metadata", "--format-version", "1", "--locked", *arguments]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE)
    if done.returncode:
        raise Unreadable(f"`{' '.join(command)}` failed; see its output above")
    return json.loads(done.stdout)


def is_allowed(expression, allowed):
    """Evaluates an SPDX expression: true if at least one choice requires only allowed licences."""
    # Old manifests write a slash instead of OR.
    tokens = re.findall(r"[()]|[^\s()]+", expression.replace("/", " OR "))

    def choice():
        value = conjunction()
        while tokens and tokens[0] == "OR":
            tokens.pop(0)
            value = conjunction() or value
        return value

    def conjunction():
        value = licence()
        while tokens and tokens[0] == "AND":
            tokens.pop(0)
            value = licence() and value
        return value

    def licence():
        if not tokens or tokens[0] in (")", "AND", "OR", "WITH"):
            raise ValueError
        name = tokens.pop(0)
        if name == "(":
            value = choice()
            if not tokens or tokens.pop(0) != ")":
                raise ValueError
            return value
        if tokens and tokens[0] == "WITH":
            tokens.pop(0)
            name += " WITH " + (tokens.pop(0) if tokens else "")
        return name in allowed

    try:
        value = choice()
    except ValueError:
        return False
    return value and not tokens


def problems_of(rules, metadata):
    members = set(metadata["workspace_members"])
    registries = {"registry+" + url for url in rules["sources"]["allow-registry"]}
    allowed = set(rules["licenses"]["allow"])
    versions = {}
    for package in metadata["packages"]:
        named = f"{package['name']} {package['version']}"
        if package["id"] in members:
            continue
        versions.setdefault(package["name"], []).append(package["version"])
        if package["source"] not in registries:
            yield f"{named} comes from {package['source'] or package['manifest_path']}, which is not an allowed registry"
        if not is_allowed(package["license"] or "", allowed):
            yield f"{named} has the licence {package['license']!r}, which offers no licence of licenses.allow in deny.toml"
    if not versions:
        raise Unreadable("cargo metadata lists no dependencies")
    for ban in rules["bans"]["deny"]:
        found = versions.get(ban["crate"], [])
        if ban.get("deny-multiple-versions"):
            if len(found) != 1:
                yield f"{ban['crate']} must be present in exactly one version; the lock file has {', '.join(found) or 'none'}"
        elif found:
            who = f"cargo tree --workspace --target all -i {ban['crate']}"
            yield f"{ban['crate']} {', '.join(found)} is banned: {ban.get('reason', 'no reason given')}; `{who}` shows the dependents"


def main():
    parser = argparse.ArgumentParser(description="Enforces the rules of deny.toml offline.")
    parser.add_argument("--rules", default=os.path.join(ROOT, "deny.toml"))
    parser.add_argument("--metadata", help="output of cargo metadata, instead of running cargo")
    args = parser.parse_args()
    try:
        rules = rules_of(args.rules)
        if args.metadata:
            with open(args.metadata, encoding="utf-8") as file:
                metadata = json.load(file)
        else:
            metadata = cargo_metadata()
        problems = sorted(problems_of(rules, metadata))
    except (Unreadable, OSError, ValueError, KeyError) as error:
        print(f"licences: {error!r}" if isinstance(error, KeyError) else f"licences: {error}", file=sys.stderr)
        return 2
    for problem in problems:
        print(f"licences: {problem}", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
