#!/usr/bin/env python3
"""Holds the walls between the crates: who may depend on whom, read from cargo metadata.

Normal dependencies only: a test may look behind a wall. Prints one line for each dependency that breaks a rule and fails.
The benchmarks are excepted, because they measure the inside of the node.
"""

import json
import subprocess
import sys

# Each crate of the workspace and the crates of the workspace that it depends on, exactly. A new edge is an architectural
# decision: it is added here and in ARCHITECTURE.md on purpose.
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
    "sim": ["core", "proto", "raft", "runtime", "storage", "store-api"],
    "crds": ["core"],
    "operator": ["crds", "http", "proto"],
    "localkube": [],
    "scenarios": ["client", "localkube", "proto"],
}
EXCEPTED = ["benches"]

# Library: the crates that may name it.
NAMED_BY = {
    "openraft": ["raft"],
    "rocksdb": ["raft", "storage", "sim"],
    "kube": ["operator", "crds", "node"],
}

# Crate: the libraries that it must not even reach through others.
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
    """The packages and the resolved graph of the workspace."""
    command = ["scripts/cargo.sh", "metadata", "--format-version", "1", "--locked"]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def normal_edges(data):
    """For each package id, the ids of its normal dependencies."""
    graph = {}
    for node in data["resolve"]["nodes"]:
        normal = [d for d in node["deps"] if any(kind["kind"] is None for kind in d["dep_kinds"])]
        graph[node["id"]] = [d["pkg"] for d in normal]
    return graph


def reached(graph, start):
    """Every package that `start` depends on, directly or not."""
    seen, todo = set(), [start]
    while todo:
        for package in graph[todo.pop()]:
            if package not in seen:
                seen.add(package)
                todo.append(package)
    return seen


def problems(data):
    """One sentence for each dependency that breaks a rule."""
    names = {package["id"]: package["name"] for package in data["packages"]}
    graph = normal_edges(data)
    ours = {names[package].removeprefix(PREFIX): package for package in data["workspace_members"]}
    for crate in sorted(set(ours) - set(EDGES) - set(EXCEPTED)):
        yield f"{crate}: a crate without a line in EDGES"
    for crate in sorted((set(EDGES) | set(EXCEPTED)) - set(ours)):
        yield f"{crate}: no crate of the workspace"
    for crate, package in sorted(ours.items()):
        if crate in EXCEPTED or crate not in EDGES:
            continue
        direct = {names[d] for d in graph[package]}
        inner = sorted(d.removeprefix(PREFIX) for d in direct if d.startswith(PREFIX))
        for edge in sorted(set(inner) - set(EDGES[crate])):
            yield f"{crate} depends on {edge}: not allowed by EDGES"
        for edge in sorted(set(EDGES[crate]) - set(inner)):
            yield f"{crate} does not depend on {edge}: remove the edge from EDGES"
        for library, crates in NAMED_BY.items():
            if library in direct and crate not in crates:
                yield f"{crate} names {library}: only {', '.join(crates)} may"
        every = {names[d] for d in reached(graph, package)}
        for library in NEVER_REACHES.get(crate, []):
            if library in every:
                yield f"{crate} reaches {library}: see `cargo tree -p {PREFIX}{crate} -e normal -i {library}`"


def main():
    data = metadata()
    # A library that nobody uses any more would make its rule prove nothing.
    names = {package["name"] for package in data["packages"]}
    missing = sorted((set(NAMED_BY) | {l for ls in NEVER_REACHES.values() for l in ls}) - names)
    found = [f"{library}: not in the dependencies, so its rules prove nothing" for library in missing]
    found += problems(data)
    for problem in found:
        print(f"walls: {problem}", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
