#!/usr/bin/env python3
"""Enforces the permitted dependencies between the crates of the workspace, based on `cargo metadata`.

Checks normal dependencies only; development dependencies of tests are exempt. Prints one line for each forbidden dependency and
fails. The benchmarks are exempt, because benchmarks measure internals of the node.
"""

import json
import subprocess
import sys

# Exact dependencies of each workspace crate on other workspace crates. A new edge is an architectural decision, and must be added
# to this table and to ARCHITECTURE.md.
EDGES = {
    "core": [],
    "proto": [],
    "runtime": [],
    "http": ["runtime"],
    "metrics": ["store-api"],
    "store-api": ["core", "proto"],
    "raft": ["core", "proto", "runtime", "store-api"],
    "storage": ["core", "proto", "raft", "runtime", "store-api"],
    "gateway": ["client", "core", "metrics", "proto", "runtime", "store-api"],
    "client": ["proto"],
    "cli": ["client", "proto", "runtime"],
    "node": ["cli", "core", "gateway", "http", "metrics", "proto", "raft", "runtime", "storage", "store-api"],
    "sim": ["client", "core", "gateway", "metrics", "node", "proto", "raft", "runtime", "storage", "store-api"],
    "crds": ["core"],
    "operator": ["crds", "http", "proto"],
    "localkube": [],
    "scenarios": ["client", "localkube", "proto"],
}
EXCEPTED = ["benches"]

# Libraries with restricted use, each with the crates that may depend on the library directly.
NAMED_BY = {
    "openraft": ["raft"],
    "rocksdb": ["raft", "storage", "sim"],
    "kube": ["operator", "crds", "node"],
}

# Crates with forbidden libraries: the crate must not depend on the library, directly or indirectly.
NEVER_REACHES = {
    "core": ["tokio", "tonic", "openraft", "rocksdb", "kube"],
    "gateway": ["openraft", "rocksdb", "kube", "taffrail-raft", "taffrail-storage"],
    "storage": ["kube", "taffrail-gateway"],
    "client": ["openraft", "rocksdb", "kube", "taffrail-core"],
    "cli": ["openraft", "rocksdb", "kube"],
    "operator": ["openraft", "rocksdb"],
    "localkube": ["taffrail-core", "taffrail-proto", "taffrail-client"],
}

PREFIX = "taffrail-"


def metadata():
    """Returns the packages and the resolved dependency graph of the workspace."""
    command = ["scripts/cargo.sh", "metadata", "--format-version", "1", "--locked"]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def normal_edges(data):
    """Returns the ids of the normal dependencies for each package id."""
    graph = {}
    for node in data["resolve"]["nodes"]:
        normal = [d for d in node["deps"] if any(kind["kind"] is None for kind in d["dep_kinds"])]
        graph[node["id"]] = [d["pkg"] for d in normal]
    return graph


def reached(graph, start):
    """Returns all packages that `start` depends on, directly or indirectly."""
    seen, todo = set(), [start]
    while todo:
        for package in graph[todo.pop()]:
            if package not in seen:
                seen.add(package)
                todo.append(package)
    return seen


def problems(data):
    """Yields a sentence for each violation of a rule."""
    names = {package["id"]: package["name"] for package in data["packages"]}
    graph = normal_edges(data)
    ours = {names[package].removeprefix(PREFIX): package for package in data["workspace_members"]}
    for crate in sorted(set(ours) - set(EDGES) - set(EXCEPTED)):
        yield f"{crate}: the crate has no line in EDGES; add its dependencies"
    for crate in sorted((set(EDGES) | set(EXCEPTED)) - set(ours)):
        yield f"{crate}: no such crate in the workspace; remove its line from EDGES or EXCEPTED"
    for crate, package in sorted(ours.items()):
        if crate in EXCEPTED or crate not in EDGES:
            continue
        direct = {names[d] for d in graph[package]}
        inner = sorted(d.removeprefix(PREFIX) for d in direct if d.startswith(PREFIX))
        for edge in sorted(set(inner) - set(EDGES[crate])):
            yield f"{crate} depends on {edge}, which EDGES does not permit"
        for edge in sorted(set(EDGES[crate]) - set(inner)):
            yield f"{crate} no longer depends on {edge}; remove the edge from EDGES"
        for library, crates in NAMED_BY.items():
            if library in direct and crate not in crates:
                yield f"{crate} depends on {library}, which only {', '.join(crates)} may use"
        every = {names[d] for d in reached(graph, package)}
        for library in NEVER_REACHES.get(crate, []):
            if library in every:
                yield f"{crate} must not depend on {library}, not even indirectly; see `cargo tree -p {PREFIX}{crate} -e normal -i {library}`"


def main():
    data = metadata()
    # A rule about an unused library, or with a misspelt name, would have no effect.
    names = {package["name"] for package in data["packages"]}
    missing = sorted((set(NAMED_BY) | {l for ls in NEVER_REACHES.values() for l in ls}) - names)
    found = [f"{library}: not among the dependencies, so the rules for this library have no effect" for library in missing]
    found += problems(data)
    for problem in found:
        print(f"walls: {problem}", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
