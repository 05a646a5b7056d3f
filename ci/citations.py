"""Whether what comments and documents refer to exists.

- `protocol.md §5.3` and `protocol.md appendix C`: a heading of docs/protocol.md. A `§` without a document before it in the same
  comment is one of protocol.md, too, where the file says nowhere that it follows an RFC;
- `streams.md sender 3`, `streams.md receiver 19`: a row of docs/streams.md; and each row has a test `sender_case_03_…`, `receiver_case_19_…`;
- `RFC 9260`, `draft-ietf-ccwg-bbr`: a row of docs/rfcs.md; and each row is cited somewhere;
- `ARCHITECTURE.md, "Bounds"`: a heading of that document;
- the name of a Markdown file: a file;
- relative links and anchors in Markdown;
- tests named in docs/guarantees.md (`name` or `module::name`): a function of that name, in a file or folder called `module`.
- messages quoted in docs/troubleshooting.md (columns "message"): a string of a source, `…` standing for anything;
- calls in docs/migrating.md (columns of lkstream): a function of that name.
- constants in the tables of ARCHITECTURE.md (columns "set by", as `engine: READER_BUDGET_BYTES` or `server: Limits::brake`): a constant or
  a field with a default in that folder, whose value stands in the same row;
- paths in ARCHITECTURE.md (`engine/src/incoming`): a file or folder.

`citations.py --selftest` shows each of these fail on purpose.
"""

import pathlib
import re
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent.parent
SOURCES = {".rs", ".md", ".py", ".toml", ".yml", ".yaml", ".js", ".mjs", ".html", ""}
COMMENT = re.compile(r"^\s*(///|//!|//|#!?|\*)\s?")
FENCE = re.compile(r"^(```|~~~).*?^\1\s*$", re.M | re.S)
CODE = re.compile(r"(`+)(?!`).*?(?<!`)\1(?!`)", re.S)
LINK = re.compile(r"\[(?:[^\[\]]|\[[^\]]*\])*\]\(\s*<?([^)\s>]+)>?[^)]*\)")
DOCUMENT = re.compile(
    r"\bRFCs?[  ]?(\d{4})(?:(?:, | and )\d{4})*"
    r"|(?<![\w/.-])((?:[\w.-]+/)*[\w.-]+\.md)\b"
    r"|\b(draft-[a-z][a-z0-9-]+[a-z0-9])"
)
SECTION = re.compile(r"§\s?(\d+(?:\.\d+)*)")
APPENDIX = re.compile(r"protocol\.md,? [Aa]ppendix ([A-Z])")
CASES = re.compile(r"streams\.md\W{0,3}(?:docs/)?(?:streams\.md\)?\W)?\s?(sender|receiver) (\d+)((?:(?:,| and| to) \d+)*)")
QUOTED = re.compile(r"ARCHITECTURE\.md,? [\"“]([^\"”]+)[\"”]")


def slug(heading):
    """The anchor that GitHub gives a heading."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").strip().lower()
    return re.sub(r"[^\w\- ]", "", text).replace(" ", "-")


class Book:
    def __init__(self, root):
        self.root = root
        names = subprocess.check_output(["git", "ls-files", "-co", "--exclude-standard"], cwd=root, text=True).splitlines()
        self.files = {name for name in names if (root / name).is_file()}
        self.texts = {}
        for name in sorted(self.files):
            path = root / name
            if path.suffix not in SOURCES or name.endswith("Cargo.lock") or name == "ci/citations.py":
                continue
            try:
                self.texts[name] = path.read_text()
            except UnicodeDecodeError:
                continue
        self.folders = {str(parent) for name in self.files for parent in pathlib.PurePath(name).parents}
        self.problems = []

    def say(self, name, offset, text, what):
        self.problems.append(f"{name}:{text.count(chr(10), 0, offset) + 1}: {what}")

    def read(self, name):
        return self.texts.get(name, "")

    def headings(self, name):
        plain = FENCE.sub("", self.read(name))
        return re.findall(r"^#{1,6} +(.+?) *#*$", plain, re.M)

    def anchors(self, name):
        seen, anchors = {}, set(re.findall(r'<a (?:id|name)="([^"]+)"', self.read(name)))
        for heading in self.headings(name):
            anchor = slug(heading)
            count = seen.get(anchor, 0)
            seen[anchor] = count + 1
            anchors.add(f"{anchor}-{count}" if count else anchor)
        return anchors

    def check(self):
        headings = self.headings("docs/protocol.md")
        self.sections = {match[1] for heading in headings if (match := re.match(r"(\d+(?:\.\d+)?)\.? ", heading))}
        self.appendices = {match[1] for heading in headings if (match := re.match(r"Appendix ([A-Z])\b", heading))}
        self.cases = {}
        for part in re.split(r"^## ", self.read("docs/streams.md"), flags=re.M):
            side = "sender" if "sender puts" in part[:40] else "receiver" if "receiver does" in part[:40] else None
            if side:
                self.cases[side] = {int(number) for number in re.findall(r"^\| (\d+) \|", part, re.M)}
        self.rfcs = set(re.findall(r"^\| \[(\d{4}|draft-[\w-]+)\]", self.read("docs/rfcs.md"), re.M))
        self.architecture = set(self.headings("ARCHITECTURE.md"))
        self.functions = {}
        self.cited = set()
        for name, text in self.texts.items():
            if name.endswith(".rs"):
                for function in re.findall(r"\bfn (\w+)", text):
                    self.functions.setdefault(function, []).append(name)

        counts = [self.citations(name, text) for name, text in self.texts.items()]
        links = sum(self.links(name, text) for name, text in self.texts.items() if name.endswith((".md", ".rs")))
        tests = self.tests()
        self.bounds()
        self.paths()
        self.messages()
        self.calls()
        self.rows()
        return sum(counts), links, tests

    def citations(self, name, text):
        # A comment is read as one line, so that a citation may be wrapped; offsets stay those of the text.
        lines = [COMMENT.sub(lambda match: " " * len(match[0]), line) for line in text.split("\n")]
        flat = " ".join(line if line.strip() else "\x00" * len(line) for line in lines)
        blocks = [match.span() for match in re.finditer(r"[^\x00]+", self.blanked(lines))]
        count = 0
        for begin, end in blocks:
            block = re.sub(r"\s", " ", flat[begin:end])
            squeezed, places = [], []
            for offset, letter in enumerate(block):
                if letter == " " and squeezed and squeezed[-1] == " ":
                    continue
                squeezed.append(letter)
                places.append(begin + offset)
            count += self.block(name, text, "".join(squeezed), places)
        return count

    @staticmethod
    def blanked(lines):
        """The lines as one string of the same length, empty lines (the ends of comments) as NUL."""
        return "".join((line if line.strip() else "\x00" * len(line)) + ("\n" if line.strip() else "\x00") for line in lines)

    def block(self, name, text, block, places):
        count = 0
        marks = sorted([*DOCUMENT.finditer(block), *SECTION.finditer(block)], key=lambda match: match.start())
        document = "docs/protocol.md" if not re.search(r"\bRFC", text) or "protocol.md's" in text else None
        if name == "docs/protocol.md":
            document = "docs/protocol.md"
        for match in marks:
            where = places[match.start()]
            if match.re is SECTION:
                if document == "docs/protocol.md":
                    count += 1
                    if match[1] not in self.sections:
                        self.say(name, where, text, f"docs/protocol.md has no section {match[1]}")
                elif document and document.endswith(".md"):
                    self.say(name, where, text, f"{document} has no numbered sections")
                continue
            if match[1] or match[3]:
                document = "RFC"
                for cited in [match[3]] if match[3] else re.findall(r"\d{4}", match[0]):
                    count += 1
                    if name != "docs/rfcs.md":
                        self.cited.add(cited)
                    if cited not in self.rfcs:
                        self.say(name, where, text, f"{'RFC ' if match[1] else ''}{cited} is not in docs/rfcs.md")
            else:
                count += 1
                document = self.markdown(name, match[2])
                if document is None:
                    self.say(name, where, text, f"there is no {match[2]}")
        for match in APPENDIX.finditer(block):
            if match[1] not in self.appendices:
                self.say(name, places[match.start()], text, f"docs/protocol.md has no appendix {match[1]}")
        for match in CASES.finditer(block):
            numbers = [int(match[2])] + [int(number) for number in re.findall(r"\d+", match[3])]
            for number in numbers:
                if number not in self.cases.get(match[1], ()):
                    self.say(name, places[match.start()], text, f"docs/streams.md has no case {number} of a {match[1]}")
        for match in QUOTED.finditer(block):
            if match[1] not in self.architecture:
                self.say(name, places[match.start()], text, f"ARCHITECTURE.md has no heading {match[1]!r}")
        return count

    def markdown(self, name, mention):
        """The file that a mention of a Markdown file means: beside the one that mentions it, at the top, or in docs."""
        for base in (pathlib.PurePath(name).parent, pathlib.PurePath("."), pathlib.PurePath("docs")):
            parts = []
            for part in (base / mention).parts:
                if part == ".." and parts:
                    parts.pop()
                else:
                    parts.append(part)
            candidate = "/".join(parts)
            if candidate in self.files:
                return candidate
        return None

    def links(self, name, text):
        plain = FENCE.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), text) if name.endswith(".md") else text
        plain = CODE.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), plain) if name.endswith(".md") else plain
        count = 0
        found = list(LINK.finditer(plain))
        if name.endswith(".md"):
            found += re.finditer(r'<(?:img|a|source)[^>]*? (?:src|href|srcset)="([^"]+)"', plain)
        for match in found:
            target = match[1]
            if re.match(r"[a-z][a-z+.-]*:", target):
                continue
            path, _, anchor = target.partition("#")
            if name.endswith(".rs") and not path.endswith(".md"):
                continue
            count += 1
            here = name
            if path:
                parts = list(pathlib.PurePath(name).parent.parts)
                for part in pathlib.PurePath(path).parts:
                    if part == "..":
                        if not parts:
                            break
                        parts.pop()
                    else:
                        parts.append(part)
                here = "/".join(parts)
                if here not in self.files and here.rstrip("/") not in self.folders:
                    self.say(name, match.start(), text, f"{target}: no such file")
                    continue
            if anchor and here.endswith(".md") and anchor not in self.anchors(here):
                self.say(name, match.start(), text, f"{target}: no such heading")
        return count

    def tests(self):
        """Tables of docs/guarantees.md with a column "test" or "held by": its names in backticks are functions, one a row at least; and so
        are names after "Held by"."""
        name = "docs/guarantees.md"
        text = self.read(name)
        count, column, offset = 0, None, 0
        for line in text.split("\n"):
            cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))] if line.startswith("|") else []
            held = re.search(r"[Hh]eld by:? (.*)", line) if not cells else None
            names = re.findall(r"`([\w:]+)`", held[1]) if held else None
            if not cells:
                column = None
            elif column is None:
                titles = [cell.lower() for cell in cells]
                column = next((titles.index(title) for title in ("test", "tests", "held by") if title in titles), -1)
            elif column >= 0 and not set(line) <= set("|-: "):
                names = re.findall(r"`([\w:]+)`", cells[column]) if column < len(cells) else []
                if not names:
                    self.say(name, offset, text, "a row without a test")
            for test in names or ():
                count += 1
                module, _, function = test.rpartition("::")
                places = [pathlib.PurePath(place).with_suffix("").parts for place in self.functions.get(function, ())]
                if not any(not module or module in place for place in places):
                    self.say(name, offset, text, f"there is no test {test}")
            offset += len(line) + 1
        return count

    def tables(self, name, title):
        """The cells of the columns whose title says so, each with its offset."""
        text, offset, columns = self.read(name), 0, None
        for line in text.split("\n"):
            cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))] if line.startswith("|") else []
            if not cells:
                columns = None
            elif columns is None:
                columns = [number for number, cell in enumerate(cells) if re.search(title, cell)]
            elif not set(line) <= set("|-: "):
                yield from ((cells[column], offset) for column in columns if column < len(cells))
            offset += len(line) + 1

    def value(self, folder, name):
        """The value of a constant, or of a field's default: bytes, a count, or seconds. None where there is none."""
        field = name.split("::")[-1]
        sources = [text for file, text in self.texts.items() if file.startswith(f"{folder}/src/") and file.endswith(".rs")]
        for text in sources:
            if "::" not in name:
                found = re.search(rf"\bconst {field}: [^=;]+ = ([^;]+);", text)
            else:
                found = name.split("::")[0] in text and re.search(rf"^\s+{field}: ([\w:<() *]+),$", text, re.M)
            if not found:
                continue
            expression = found[1].strip()
            elsewhere = re.fullmatch(r"(?:\w+::)*([A-Z_]+)", expression)
            if elsewhere:
                return next((value for other in (folder, "proto") if (value := self.value(other, elsewhere[1])) is not None), None)
            span = re.fullmatch(r"Duration::from_(secs|millis|micros)\((.+)\)", expression)
            scale = {"secs": 1, "millis": 1e-3, "micros": 1e-6}[span[1]] if span else 1
            numbers = (span[2] if span else expression).replace("_", "")
            if re.fullmatch(r"[\d<*+ ()]+", numbers):
                return eval(numbers) * scale
        return None

    def bounds(self):
        name = "ARCHITECTURE.md"
        units = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "kB": 1000, "MB": 10**6, "GB": 10**9, "ms": 1e-3, "min": 60}
        text = self.read(name)
        offset, column = 0, None
        for line in text.split("\n"):
            cells = [cell.strip() for cell in line.strip().strip("|").split("|")] if line.startswith("|") else []
            if not cells:
                column = None
            elif column is None:
                column = cells.index("set by") if "set by" in cells else -1
            elif column >= 0 and not set(line) <= set("|-: "):
                quantities = re.findall(r"(\d+(?:[ ,]\d{3})*(?:\.\d+)?) ?(KiB|MiB|GiB|kB|MB|GB|ms|min)?", " | ".join(cells[:column]))
                known = {float(re.sub(r"[ ,]", "", number)) * units.get(unit, 1) for number, unit in quantities}
                constants = re.findall(r"`(\w+): ([\w:, ]+)`", cells[column])
                if not constants:
                    self.say(name, offset, text, "a bound without a constant")
                for folder, names in constants:
                    for constant in names.split(", "):
                        value = self.value(folder, constant)
                        if value is None:
                            self.say(name, offset, text, f"{folder} has no constant {constant}")
                        elif not any(abs(value - quantity) < 1e-9 * max(1, value) for quantity in known):
                            self.say(name, offset, text, f"{folder}: {constant} is {value:g}, which the row does not say")
            offset += len(line) + 1

    def paths(self):
        name = "ARCHITECTURE.md"
        text = self.read(name)
        for match in re.finditer(r"`([a-z]+/[\w./{},]+)`", text):
            stem, braces, rest = match[1].partition("{")
            for path in [stem + part + rest.split("}")[1] for part in rest.split("}")[0].split(",")] if braces else [match[1]]:
                if not any(place in self.files or place in self.folders for place in (path.rstrip("/"), path + ".rs")):
                    self.say(name, match.start(), text, f"there is no {path}")

    def messages(self):
        name = "docs/troubleshooting.md"
        sources = [text for file, text in self.texts.items() if file.endswith(".rs") and "/tests" not in file]
        sources = re.sub(r"\\\n\s*", "", "\n".join(sources))
        for cell, offset in self.tables(name, r"^message$"):
            for message in re.findall(r"`([^`]+)`", cell):
                for part in re.split(r"…|\d+", message):
                    part = part.strip(" ():")
                    if len(part) > 3 and part not in sources:
                        self.say(name, offset, self.read(name), f"no source says {part!r}")

    def calls(self):
        name = "docs/migrating.md"
        for cell, offset in self.tables(name, r"^(Rust )?`lkstream`$"):
            for code in re.findall(r"`([^`]+)`", cell):
                for call in re.findall(r"(\w+)\(", code):
                    if call not in self.functions and not re.search(rf"Event::{call}\(", code):
                        self.say(name, offset, self.read(name), f"there is no function {call}")

    def rows(self):
        for side, numbers in self.cases.items():
            tested = {int(match[1]) for function in self.functions if (match := re.match(rf"{side}_case_(\d+)_", function))}
            for number in sorted(numbers - tested):
                self.problems.append(f"docs/streams.md: no test holds case {number} of a {side}")
            for number in sorted(tested - numbers):
                self.problems.append(f"docs/streams.md: a test names case {number} of a {side}, which is not there")
        for side in ("sender", "receiver"):
            if not self.cases.get(side):
                self.problems.append(f"docs/streams.md: no cases of a {side}")
        for cited in sorted(self.rfcs - self.cited):
            self.problems.append(f"docs/rfcs.md: nothing cites {cited}")


def selftest():
    """Each kind of broken reference, in a small repository of its own, is found and named."""
    sound = {
        "docs/protocol.md": "# P\n\n## 1. A\n\n### 1.1 B\n\nSee §1.1.\n\n## Appendix A. C\n",
        "docs/streams.md": "# S\n\n## What a sender puts\n\n| # | a |\n|---|---|\n| 1 | x |\n\n## What a receiver does\n\n| # | a |\n|---|---|\n| 2 | x |\n",
        "docs/rfcs.md": "# R\n\n| RFC | t |\n|---|---|\n| [9260](https://x) | S |\n",
        "docs/guarantees.md": "# G\n\n| a | test |\n|---|---|\n| x | `it_holds` |\n",
        "ARCHITECTURE.md": "# A\n\n## Bounds\n\n[p](docs/protocol.md#11-b) and [g](docs/guarantees.md)\n",
        "lib.rs": "//! (protocol.md\n//! §1.1, appendix A), RFC 9260 §99, streams.md sender 1, ARCHITECTURE.md, \"Bounds\".\n"
        "fn sender_case_01_x() {}\nfn receiver_case_02_x() {}\nfn it_holds() {}\n",
    }
    table = "| queue | limit | set by |\n|---|---|---|\n| q | 4 KiB in 2 s | `engine: ROOM, WAIT`, `engine: Limits::brake` |\n"
    sound["ARCHITECTURE.md"] += "\n`engine/src/a` and `engine/{src,src/a.rs}`\n\n" + table
    sound["engine/src/a.rs"] = "const ROOM: usize = 4 * 1024;\nconst WAIT: Duration = Duration::from_secs(2);\nimpl Limits {\n    brake: 4 << 10,\n}\n"
    sound["docs/troubleshooting.md"] = "| message | cause |\n|---|---|\n| `it holds 12 of … things` | y |\n"
    sound["docs/migrating.md"] = "| theirs | `lkstream` |\n|---|---|\n| `no()` | `it_holds(x)` |\n"
    sound["lib.rs"] += 'const X: &str = "it holds {} of \\\n    {} things";\n'
    broken = {
        "engine has no constant GONE": {"ARCHITECTURE.md": sound["ARCHITECTURE.md"].replace("ROOM", "GONE")},
        "ROOM is 4096, which the row does not say": {"ARCHITECTURE.md": sound["ARCHITECTURE.md"].replace("4 KiB", "5 KiB").replace(", `engine: Limits::brake`", "")},
        "a bound without a constant": {"ARCHITECTURE.md": sound["ARCHITECTURE.md"].replace("`engine: ROOM, WAIT`, `engine: Limits::brake`", "")},
        "there is no engine/src/b.rs": {"ARCHITECTURE.md": sound["ARCHITECTURE.md"].replace("src/a.rs", "src/b.rs")},
        "no source says 'of it'": {"docs/troubleshooting.md": "| message | cause |\n|---|---|\n| `it holds 12 of it` | y |\n"},
        "there is no function gone": {"docs/migrating.md": "| theirs | `lkstream` |\n|---|---|\n| `no()` | `gone(x)` |\n"},
        "no section 9.9": {"a.rs": "// (protocol.md §1.1,\n// §9.9)\n"},
        "no section 7": {"a.rs": "/// §7: bare.\n"},
        "no appendix Z": {"a.rs": "// protocol.md appendix Z\n"},
        "no case 3 of a sender": {"a.rs": "// streams.md sender 1, 3\n"},
        "RFC 1111 is not in": {"a.rs": "// RFC 1111 §2\n"},
        "draft-x-y is not in": {"a.rs": "// draft-x-y §1.7\n"},
        "RFC 2222 is not in": {"a.rs": "// RFC 9260, 2222\n"},
        "nothing cites 3333": {"docs/rfcs.md": sound["docs/rfcs.md"] + "| [3333](https://x) | N |\n"},
        "no heading 'Roof'": {"a.rs": '// ARCHITECTURE.md, "Roof"\n'},
        "there is no gone.md": {"a.rs": "// docs: gone.md\n"},
        "has no numbered sections": {"a.rs": "// ARCHITECTURE.md §4\n"},
        "gone.txt: no such file": {"README.md": "[x](gone.txt)\n"},
        "docs/protocol.md#zz: no such heading": {"README.md": "[x](docs/protocol.md#zz)\n"},
        "there is no test it_never": {"docs/guarantees.md": "# G\n\n| a | test |\n|---|---|\n| x | `it_never` |\n"},
        "there is no test other::it_holds": {"docs/guarantees.md": "# G\n\n| a | test |\n|---|---|\n| x | `lib::it_holds`, `other::it_holds` |\n"},
        "a row without a test": {"docs/guarantees.md": "# G\n\n| a | test |\n|---|---|\n| x | |\n"},
        "no test holds case 4": {"docs/streams.md": sound["docs/streams.md"] + "| 4 | y |\n"},
    }
    for expected, change in [(None, {})] + list(broken.items()):
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder)
            for name, text in {**sound, **change}.items():
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                (root / name).write_text(text)
            subprocess.run(["git", "init", "-q"], cwd=root, check=True)
            book = Book(root)
            book.check()
            found = book.problems
            if expected is None and found or expected is not None and not (len(found) == 1 and expected in found[0]):
                raise SystemExit(f"expected {expected!r}, found {found}")
    print(f"{len(broken)} broken references found")


def main():
    if sys.argv[1:] == ["--selftest"]:
        return selftest()
    book = Book(HERE)
    citations, links, tests = book.check()
    for problem in book.problems:
        print(problem)
    print(f"{citations} citations, {links} links and {tests} names of tests checked, {len(book.problems)} problems")
    sys.exit(1 if book.problems else 0)


main()
