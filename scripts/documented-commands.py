#!/usr/bin/env python3
"""Checks every command in the `sh` blocks of README.md, CONTRIBUTING.md, docs/ and the READMEs of charts and client.

    documented-commands.py [--taffrail BINARY] [--sim BINARY] [--list]

A block is parsed, and its commands are not executed. Rules for each command of a block:
  make        the targets exist, and the Makefile or a script reads each VARIABLE=value.
  taffrail, taffrail-sim
              the binary accepts the command line followed by --help. The parser refuses unknown commands and flags, and
              malformed values, but does not detect missing arguments. Needs the debug binaries (`make build`).
  cargo       the package of -p and the target of --example, --test, --bin and --bench exist.
  helm        charts exist, and the chart has the values of --set.
  kubectl     files of -f exist, and the value of -p is valid JSON. The rule of the command after `--` applies to that command.
  grpcurl     the method exists in the .proto files, and the JSON of -d has only fields of the request, with valid values.
  xargs       the rule of the command started by xargs applies.
  podman, docker
              the build folder has a Containerfile.
  git, eval, export, curl, less, jq, head, tail, tee, cd, ls
              accepted without further checks.
Any other command is an error, so that every command is covered by a rule.

A comment in the line before a block adds a rule for the block:
  <!-- run by: PATH [words] -->   a test, script or example executes the block: the file PATH must contain the words.
  <!-- from: PATH -->             the block, in any language, is an excerpt: PATH contains its lines in this order, apart from
                                  indentation.
`--list` prints all blocks, and for each block the file that executes the block, if any.
"""
import argparse
import base64
import binascii
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib

ROOT = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
PAGES = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "docs", "charts/taffrail/README.md", "charts/taffrail-crds/README.md",
         "node/client/README.md")
SEPARATORS = {"|", "||", "&&", ";", "&", ";;"}
ACCEPTED = {"git", "eval", "export", "curl", "less", "jq", "head", "tail", "tee", "cd", "ls"}
ASSIGNMENT = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*=")


class Wrong(Exception):
    """A documented command is wrong, or a check is impossible."""


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        return file.read()


def pages():
    for entry in PAGES:
        path = os.path.join(ROOT, entry)
        if os.path.isdir(path):
            yield from (f"{entry}/{name}" for name in sorted(os.listdir(path)) if name.endswith(".md"))
        elif os.path.exists(path):
            yield entry


class Block:
    def __init__(self, page, line, language, marks, lines):
        self.page, self.line, self.language, self.marks, self.lines = page, line, language, marks, lines

    def where(self, offset=0):
        return f"{self.page}:{self.line + offset}"


def blocks_of(page):
    marks, block = {}, None
    for number, text in enumerate(read(page).split("\n"), 1):
        stripped = text.strip()
        if block is not None:
            if stripped.startswith("```"):
                yield block
                block = None
            else:
                block.lines.append(text)
        elif stripped.startswith("```"):
            block = Block(page, number + 1, stripped.strip("`").strip(), marks, [])
            marks = {}
        elif mark := re.fullmatch(r"<!-- (run by|from): (\S+) ?(.*?) ?-->", stripped):
            marks[mark.group(1)] = (mark.group(2), mark.group(3))
        elif stripped:
            marks = {}
    if block is not None:
        raise Wrong(f"{page}: the code block that starts in line {block.line} is not closed")


def commands_of(block):
    """Yields (offset, words) of each simple command; a `$(...)` or a redirection counts as a word."""
    text, start = "", 0
    for offset, line in enumerate(block.lines):
        start = offset if not text else start
        text += line
        if text.endswith("\\"):
            text = text[:-1] + " "
            continue
        lexer = shlex.shlex(text, posix=True, punctuation_chars="|&;")
        lexer.whitespace_split, lexer.commenters = True, "#"
        try:
            words = list(lexer)
        except ValueError:
            # An open quote: the command continues in the next line.
            text += "\n"
            continue
        text, command = "", []
        for word in words + [";"]:
            if word in SEPARATORS:
                if command:
                    yield start, command
                command = []
            else:
                command.append(word)
    if text:
        raise Wrong(f"{block.where(start)}: the command is incomplete at the end of the block")


class Makefile:
    def __init__(self):
        text = read("Makefile")
        self.targets = set(re.findall(r"^([a-z][a-z0-9-]*):", text, re.M))
        scripts = [f"scripts/{name}" for name in os.listdir(os.path.join(ROOT, "scripts"))]
        self.readers = text + "".join(read(path) for path in scripts if path.endswith(".sh"))
        for folder, _, files in os.walk(os.path.join(ROOT, "e2e")):
            self.readers += "".join(read(os.path.join(folder, name)) for name in files if name.endswith(".rs"))

    def check(self, words):
        targets = [word for word in words[1:] if not word.startswith("-") and not ASSIGNMENT.match(word)]
        for target in targets:
            if target not in self.targets:
                raise Wrong(f"make has no target {target}")
        for word in words[1:]:
            if ASSIGNMENT.match(word) and not re.search(rf"\b{word.split('=')[0]}\b", self.readers):
                raise Wrong(f"neither the Makefile nor a script reads the variable {word.split('=')[0]}")


class Protos:
    """Services and messages of the .proto files. The parser supports only the language features used by these files."""

    SCALARS = {
        "double", "float", "int32", "int64", "uint32", "uint64", "sint32", "sint64", "fixed32", "fixed64", "bool", "string",
        "bytes",
    }

    def __init__(self):
        self.methods, self.messages, self.enums = {}, {}, {}
        for folder, _, files in os.walk(os.path.join(ROOT, "proto")):
            for name in files:
                if name.endswith(".proto"):
                    self.parse(read(os.path.join(folder, name)))
        if not self.methods:
            raise Wrong("the folder proto/ contains no service")

    def parse(self, text):
        text = re.sub(r"//[^\n]*", "", text)
        package = re.search(r"^package ([\w.]+);", text, re.M).group(1)
        # Processes one token at a time; `scope` is the stack of open braces.
        tokens, scope, at = re.findall(r'"[^"]*"|[\w.]+|[{};=<>(),\[\]-]', text), [], 0
        while at < len(tokens):
            token = tokens[at]
            if token in ("service", "message", "enum", "oneof") and at + 2 < len(tokens) and tokens[at + 2] == "{":
                scope.append((token, tokens[at + 1]))
                if token in ("message", "enum"):
                    getattr(self, token + "s").setdefault(self.name(package, scope), {})
                at += 3
            elif token == "}":
                if scope:
                    scope.pop()
                at += 1
            elif token == "rpc":
                end = tokens.index(")", tokens.index("returns", at))
                asked = tokens[tokens.index("(", at) + 1 : tokens.index(")", at)]
                self.methods[f"{package}.{scope[-1][1]}/{tokens[at + 1]}"] = (package, asked[-1])
                at = end + 1
                if at < len(tokens) and tokens[at] == "{":
                    scope.append(("options", ""))
                    at += 1
            elif scope and scope[-1][0] in ("message", "oneof", "enum") and "=" in tokens[at : at + 4]:
                end = tokens.index(";", at)
                field = tokens[at:end]
                label = field.pop(0) if field[0] in ("repeated", "optional") else ""
                owner = self.name(package, [entry for entry in scope if entry[0] != "oneof"])
                if scope[-1][0] == "enum":
                    self.enums[owner][field[0]] = field[2]
                else:
                    oneof = scope[-1][1] if scope[-1][0] == "oneof" else None
                    self.messages[owner][field[1]] = (field[0], label == "repeated", oneof, package)
                at = end + 1
            else:
                at = tokens.index(";", at) + 1 if ";" in tokens[at:] else len(tokens)

    @staticmethod
    def name(package, scope):
        return ".".join([package] + [name for _, name in scope])

    def resolve(self, package, owner, name):
        for full in (f"{owner}.{name}", f"{package}.{name}", name):
            if full in self.messages or full in self.enums:
                return full
        return name

    def check_call(self, method, body):
        if method not in self.methods:
            raise Wrong(f"the .proto files have no method {method}; they have {', '.join(sorted(self.methods))}")
        package, message = self.methods[method]
        self.check_message(self.resolve(package, package, message), body, "the body")

    def check_message(self, message, value, place):
        if message == "google.protobuf.Timestamp":
            return
        if message not in self.messages:
            raise Wrong(f"{place}: the .proto files have no message {message}")
        if not isinstance(value, dict):
            raise Wrong(f"{place} must be an object of {message}")
        fields, chosen = self.messages[message], {}
        for key, entry in value.items():
            name = key if key in fields else re.sub(r"[A-Z]", lambda m: "_" + m.group().lower(), key)
            if name not in fields:
                raise Wrong(f"{place}: {message} has no field {key}; it has {', '.join(fields) or 'none'}")
            kind, repeated, oneof, package = fields[name]
            if oneof and chosen.setdefault(oneof, name) != name:
                raise Wrong(f"{place}: {chosen[oneof]} and {name} are mutually exclusive")
            if repeated and not isinstance(entry, list):
                raise Wrong(f"{place}.{key} must be a list")
            for item in entry if repeated else [entry]:
                self.check_value(self.resolve(package, message, kind), item, f"{place}.{key}")

    def check_value(self, kind, value, place):
        if kind in self.enums:
            if value not in self.enums[kind]:
                raise Wrong(f"{place}: {kind} has no value {value}")
        elif kind not in self.SCALARS:
            self.check_message(kind, value, place)
        elif kind == "bool":
            if not isinstance(value, bool):
                raise Wrong(f"{place} must be true or false")
        elif kind in ("string", "bytes"):
            if not isinstance(value, str):
                raise Wrong(f"{place} must be a string")
            if kind == "bytes":
                try:
                    base64.b64decode(value, validate=True)
                except binascii.Error:
                    raise Wrong(f"{place} must be base64") from None
        elif isinstance(value, bool) or not re.fullmatch(r"-?[0-9]+", str(value)):
            raise Wrong(f"{place} must be an integer")


class Checker:
    def __init__(self, binaries):
        self.makefile, self.protos, self.binaries = Makefile(), Protos(), binaries

    def check(self, words):
        while words and ASSIGNMENT.match(words[0]):
            words = words[1:]
        if not words:
            return
        rule = getattr(self, "check_" + words[0].replace("-", "_"), None)
        if rule:
            rule(words)
        elif words[0] not in ACCEPTED:
            raise Wrong(f"the command {words[0]} has no rule; add a rule to scripts/documented-commands.py")

    def check_make(self, words):
        self.makefile.check(words)

    def check_taffrail(self, words):
        binary = self.binaries[words[0]]
        if not binary or not os.access(binary, os.X_OK):
            raise Wrong(f"the binary {binary or words[0]} is missing: run `make build`")
        # A redirection belongs to the shell and is not passed to the binary.
        arguments = []
        for word in words[1:]:
            if re.match(r"[0-9]*[<>]", word):
                break
            arguments.append(word)
        done = subprocess.run([binary, *arguments, "--help"], capture_output=True, text=True)
        if done.returncode:
            raise Wrong(f"{words[0]} rejects the command line: {' '.join(done.stderr.split())}")

    check_taffrail_sim = check_taffrail

    def check_cargo(self, words):
        found = dict(re.findall(r"(-p|--package|--example|--test|--bin|--bench)[ =](\S+)", " ".join(words)))
        package = found.pop("-p", found.pop("--package", None))
        folders = [folder for folder, name in packages() if package in (None, name)]
        if not folders:
            raise Wrong(f"the workspace has no package {package}")
        for flag, name in found.items():
            kind = {"--example": "examples", "--test": "tests", "--bin": "src/bin", "--bench": "benches"}[flag]
            places = [f"{folder}/{kind}/{name}{end}" for folder in folders for end in (".rs", "/main.rs")]
            manifests = "".join(read(f"{folder}/Cargo.toml") for folder in folders)
            if not any(os.path.exists(os.path.join(ROOT, place)) for place in places) and f'name = "{name}"' not in manifests:
                raise Wrong(f"no package has {flag} {name}")

    def check_helm(self, words):
        chart = None
        for word in words[1:]:
            if word.startswith("charts/"):
                if not os.path.exists(os.path.join(ROOT, word, "Chart.yaml")):
                    raise Wrong(f"{word} contains no Helm chart")
                chart = word
        values = [words[at + 1] for at, word in enumerate(words[:-1]) if word in ("--set", "--set-string")]
        for value in (pair for joined in values for pair in joined.split(",")):
            schema = json.loads(read(f"{chart or 'charts/taffrail'}/values.schema.json"))
            for key in value.split("=")[0].split("."):
                schema = schema.get("properties", {}).get(re.sub(r"\[[0-9]+\]$", "", key))
                if schema is None:
                    raise Wrong(f"the chart has no value {value.split('=')[0]}")

    def check_kubectl(self, words):
        if "--" in words:
            at = words.index("--")
            self.check(words[at + 1 :])
            words = words[:at]
        for at, word in enumerate(words[:-1]):
            following = words[at + 1]
            if word in ("-f", "--filename") and "logs" not in words and following != "-" and not following.startswith("http"):
                if not os.path.exists(os.path.join(ROOT, following)):
                    raise Wrong(f"the file {following} does not exist")
            if word in ("-p", "--patch"):
                try:
                    json.loads(following)
                except ValueError as error:
                    raise Wrong(f"the patch is not valid JSON: {error}") from None

    def check_grpcurl(self, words):
        body, rest, at = {}, [], 1
        while at < len(words):
            word = words[at]
            if word in ("-d", "-H", "-authority", "-max-time"):
                if at + 1 == len(words):
                    raise Wrong(f"{word} needs a value")
                if word == "-d":
                    try:
                        body = json.loads(words[at + 1])
                    except ValueError as error:
                        raise Wrong(f"the body is not valid JSON: {error}") from None
                at += 2
                continue
            if word.startswith("-") and word not in ("-plaintext", "-emit-defaults"):
                raise Wrong(f"the flag {word} of grpcurl has no rule; add a rule to scripts/documented-commands.py")
            if not word.startswith("-"):
                rest.append(word)
            at += 1
        if len(rest) < 2 or not re.fullmatch(r"[^/:]+:[0-9]+", rest[0]):
            raise Wrong("grpcurl needs HOST:PORT and a method, list or describe")
        if rest[1] == "describe" and len(rest) == 3:
            known = set(self.protos.messages) | set(self.protos.enums) | {m.split("/")[0] for m in self.protos.methods}
            if rest[2] not in known:
                raise Wrong(f"the .proto files have no {rest[2]}")
        elif rest[1] not in ("list", "describe") and not rest[1].startswith("grpc.health.v1."):
            self.protos.check_call(rest[1], body)

    def check_xargs(self, words):
        starts = [at for at, word in enumerate(words[1:], 1) if not word.startswith("-")]
        if starts:
            self.check(words[starts[0] :])

    def check_podman(self, words):
        if words[1:2] == ["build"] and not os.path.exists(os.path.join(ROOT, words[-1], "Containerfile")):
            raise Wrong(f"{words[-1]} has no Containerfile")

    check_docker = check_podman


def packages():
    workspace = tomllib.loads(read("Cargo.toml"))["workspace"]
    for folder in workspace["members"]:
        yield folder, tomllib.loads(read(f"{folder}/Cargo.toml"))["package"]["name"]


def check_marks(block):
    for kind, (path, words) in block.marks.items():
        if not os.path.exists(os.path.join(ROOT, path)):
            raise Wrong(f"{block.where()}: '{kind}: {path}' names a file that does not exist")
        text = read(path)
        if kind == "run by" and words and words not in text:
            raise Wrong(f"{block.where()}: {path} does not contain {words!r}")
        if kind == "from":
            source = iter([line.strip() for line in text.split("\n")])
            for offset, line in enumerate(block.lines):
                if line.strip() and line.strip() not in source:
                    raise Wrong(f"{block.where(offset)}: {path} does not contain this line, or not in this order: {line.strip()}")


def main():
    target = os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target"))
    parser = argparse.ArgumentParser(description="Checks the commands in the documentation.")
    parser.add_argument("--taffrail", default=os.path.join(target, "debug", "taffrail"))
    parser.add_argument("--sim", default=os.path.join(target, "debug", "taffrail-sim"))
    parser.add_argument("--list", action="store_true", help="print each block and whether it is parsed or run")
    args = parser.parse_args()
    problems, commands = [], 0
    try:
        checker = Checker({"taffrail": args.taffrail, "taffrail-sim": args.sim})
        blocks = [block for page in pages() for block in blocks_of(page)]
    except (Wrong, OSError, ValueError) as error:
        print(f"documented-commands: {error}", file=sys.stderr)
        return 2
    for block in blocks:
        try:
            check_marks(block)
            if block.language != "sh":
                continue
            run_by = block.marks.get("run by")
            if args.list:
                print(f"{block.where()}: " + (f"run by {' '.join(run_by).strip()}" if run_by else "parsed"))
            for offset, words in commands_of(block):
                commands += 1
                if args.list:
                    print(f"    {shlex.join(words)}")
                try:
                    checker.check(words)
                except Wrong as error:
                    problems.append(f"{block.where(offset)}: {error}")
        except Wrong as error:
            problems.append(str(error))
    for problem in problems:
        print(f"documented-commands: {problem}", file=sys.stderr)
    if not commands:
        print("documented-commands: no commands found in the pages", file=sys.stderr)
        return 2
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
