"""Checks the licence of every package that cargo resolves against an allow-list.

An expression passes when the allow-list can satisfy it: one side of an OR, both sides of an AND.
"""

import json
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
ALLOWED = {
    "MIT",
    "MIT-0",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Zlib",
    "Unicode-3.0",  # the Unicode tables of unicode-ident and the icu crates
}


def satisfied(expression):
    """Evaluates an SPDX expression, also the old `MIT/Apache-2.0` form."""
    words = re.findall(r"\(|\)|/|[^\s()/]+", expression)
    at = 0

    def peek():
        return words[at] if at < len(words) else None

    def term():
        nonlocal at
        word = words[at]
        at += 1
        if word == "(":
            value = either()
            if peek() != ")":
                raise ValueError(f"no closing parenthesis in {expression!r}")
            at += 1
            return value
        if peek() == "WITH":
            word = f"{word} WITH {words[at + 1]}"
            at += 2
        return word in ALLOWED

    def both():
        nonlocal at
        value = term()
        while peek() == "AND":
            at += 1
            value = term() and value
        return value

    def either():
        nonlocal at
        value = both()
        while peek() in ("OR", "/"):
            at += 1
            value = both() or value
        return value

    value = either()
    if at != len(words):
        raise ValueError(f"cannot read {expression!r}")
    return value


assert satisfied("(MIT OR Apache-2.0) AND Unicode-3.0")
assert satisfied("GPL-3.0-only OR MIT") and satisfied("MIT/GPL-2.0")
assert not satisfied("MIT AND GPL-3.0-only") and not satisfied("Apache-2.0 WITH Other-exception")

# What we ship for; the packages of other targets (wasm32's root certificates, for one) are never built.
TARGETS = [
    "x86_64-unknown-linux-gnu",
    "aarch64-unknown-linux-gnu",
    "x86_64-unknown-linux-musl",
    "aarch64-apple-darwin",
    "x86_64-apple-darwin",
    "x86_64-pc-windows-msvc",
]
command = ["cargo", "metadata", "--format-version", "1", "--locked", "--offline"]
for target in TARGETS:
    command += ["--filter-platform", target]
metadata = json.loads(subprocess.check_output(command, cwd=ROOT))
refused = []
for package in metadata["packages"]:
    licence = package.get("license")
    if licence is None or not satisfied(licence):
        refused.append(f"{package['name']} {package['version']}: {licence or 'no licence expression'}")
print("\n".join(sorted(refused) + [f"{len(metadata['packages'])} packages, {len(refused)} refused"]))
sys.exit(1 if refused else 0)
