"""The dependency lines between the crates, checked on what cargo resolves and on the sources.

- no tokio, no clock and no sockets crate in the normal dependencies of proto, engine, sctp and transport;
- no member depends on a member above it;
- `unsafe` only in ffi;
- every member inherits the workspace's lints, which forbid unsafe code.
"""

import json
import pathlib
import re
import subprocess
import sys
import tomllib

ROOT = pathlib.Path(__file__).resolve().parent.parent
SANS_IO = {"lkstream-proto", "lkstream-engine", "lkstream-sctp", "lkstream-transport"}
FORBIDDEN_BELOW = {"tokio", "tokio-util", "async-std", "smol", "mio", "hyper", "axum", "tokio-tungstenite"}
MAY_USE = {
    "lkstream-proto": set(),
    "lkstream-sctp": set(),
    "lkstream-transport": {"lkstream-sctp"},
    "lkstream-engine": {"lkstream-proto"},
    "lkstream": {"lkstream-proto", "lkstream-engine", "lkstream-transport"},
    "lkstream-server": {"lkstream-proto", "lkstream-engine", "lkstream-transport"},
    "lkstream-cli": {"lkstream-proto", "lkstream", "lkstream-server"},
    "lkstream-python": {"lkstream-proto", "lkstream", "lkstream-server"},
    "livekit-ffi": {"lkstream-proto", "lkstream"},
}
UNSAFE_ALLOWED = {"ffi"}
UNSAFE = re.compile(r"\bunsafe\s*(\{|fn\b|impl\b|trait\b|extern\b)|#\[unsafe\(")

problems = []
metadata = json.loads(
    subprocess.check_output(["cargo", "metadata", "--format-version", "1", "--locked", "--offline"], cwd=ROOT)
)
names = {package["id"]: package["name"] for package in metadata["packages"]}
members = {names[member] for member in metadata["workspace_members"]}
normal = {
    node["id"]: [
        dependency["pkg"]
        for dependency in node["deps"]
        if any(kind["kind"] is None for kind in dependency["dep_kinds"])
    ]
    for node in metadata["resolve"]["nodes"]
}


def chains(start):
    """Every package reachable over normal dependencies, with the way to it."""
    ways = {start: [names[start]]}
    stack = [start]
    while stack:
        here = stack.pop()
        for dependency in normal[here]:
            if dependency not in ways:
                ways[dependency] = ways[here] + [names[dependency]]
                stack.append(dependency)
    return ways


for member in metadata["workspace_members"]:
    name = names[member]
    if name in SANS_IO:
        for package, way in chains(member).items():
            if names[package] in FORBIDDEN_BELOW:
                problems.append(f"{name} must not depend on {names[package]}: {' > '.join(way)}")
    if name in MAY_USE:
        for dependency in normal[member]:
            used = names[dependency]
            if used in members and used not in MAY_USE[name]:
                problems.append(f"{name} must not depend on {used}")

workspace = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]
if workspace["lints"]["rust"].get("unsafe_code") != "forbid":
    problems.append("the workspace's lints do not forbid unsafe code")
for folder in workspace["members"]:
    manifest = tomllib.loads((ROOT / folder / "Cargo.toml").read_text())
    if folder in UNSAFE_ALLOWED:
        continue
    if manifest.get("lints", {}).get("workspace") is not True:
        problems.append(f"{folder}/Cargo.toml does not inherit the workspace's lints")
    for source in sorted((ROOT / folder).rglob("*.rs")):
        for number, line in enumerate(source.read_text().splitlines(), 1):
            if UNSAFE.search(line.split("//")[0]):
                problems.append(f"{source.relative_to(ROOT)}:{number}: unsafe outside ffi")

for problem in problems:
    print(problem)
print(f"{len(members)} members checked, {len(problems)} problems")
sys.exit(1 if problems else 0)
