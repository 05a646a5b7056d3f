#!/usr/bin/env python3
"""Draws docs/pictures/demo.svg: the screen of a terminal after `lkstream demo`.

    cargo build --release && docs/pictures/terminal.py target/release/lkstream

It runs the program in a pseudo-terminal, keeps what a terminal would show, and writes it as text in an SVG. The progress bar, which the
program takes away at the end, is drawn as it was when three quarters of the file had arrived. With `--check` it writes nothing, but says
whether the program still prints what the picture shows, apart from numbers.
"""

import fcntl
import os
import pathlib
import pty
import re
import select
import signal
import struct
import sys
import termios
import time
from xml.sax.saxutils import escape

PICTURE = pathlib.Path(__file__).resolve().parent / "demo.svg"
COLUMNS, ROWS = 84, 40
DEADLINE = 300
WIDTH, HEIGHT, MARGIN, BAR = 8.4, 19, 18, 34
COLOURS = {"": "#d8dee9", "dim": "#7b8496", "bold": "#ffffff", "green": "#a3be8c", "cyan": "#88c0d0", "yellow": "#ebcb8b", "red": "#d9707a"}
CODES = {"1": "bold", "2": "dim", "31": "red", "32": "green", "33": "yellow", "36": "cyan"}
SEQUENCE = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])")


class Screen:
    """What a terminal shows: the few control sequences that programs with progress bars use."""

    def __init__(self):
        self.rows, self.row, self.column, self.style = [[]], 0, 0, ""

    def feed(self, text):
        at = 0
        while at < len(text):
            sequence = SEQUENCE.match(text, at)
            if sequence:
                self.control(sequence[1], sequence[2])
                at = sequence.end()
                continue
            letter = text[at]
            at += 1
            if letter == "\r":
                self.column = 0
            elif letter == "\n":
                self.row += 1
                while len(self.rows) <= self.row:
                    self.rows.append([])
            elif letter >= " ":
                line = self.rows[self.row]
                line.extend([(" ", "")] * (self.column + 1 - len(line)))
                line[self.column] = (letter, self.style)
                self.column += 1

    def control(self, numbers, letter):
        first = int(numbers.split(";")[0] or 0) if numbers.replace(";", "").isdigit() or not numbers else 0
        if letter == "m":
            for code in (numbers or "0").split(";"):
                self.style = CODES.get(code, "" if code in ("", "0", "22", "39") else self.style)
        elif letter == "K":
            line = self.rows[self.row]
            del line[0 if first == 2 else self.column :]
        elif letter == "A":
            self.row = max(0, self.row - max(1, first))
        elif letter == "B":
            self.row = min(len(self.rows) - 1, self.row + max(1, first))
        elif letter == "G":
            self.column = max(0, first - 1)
        elif letter == "J":
            del self.rows[self.row + 1 :]
            del self.rows[self.row][self.column :]

    def lines(self):
        """Runs of one style: a list of (text, style) a line."""
        for line in self.rows:
            runs = []
            for letter, style in line:
                if runs and (runs[-1][1] == style or letter == " "):
                    runs[-1][0] += letter
                else:
                    runs.append([letter, style])
            yield [(text, style) for text, style in runs]


def run(program, arguments):
    """The screen at the end, and each line of a progress bar on its way there."""
    child, master = pty.fork()
    if child == 0:  # In the foreground of a terminal of its own, or it would show no progress.
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        os.environ["TERM"] = "xterm-256color"
        os.environ.pop("NO_COLOR", None)
        os.execv(program, [program, *arguments])
    screen, bars, text, until = Screen(), [], "", time.monotonic() + DEADLINE
    while time.monotonic() < until:
        if not select.select([master], [], [], 1)[0]:
            continue
        try:
            piece = os.read(master, 65536)
        except OSError:  # The child has closed its end.
            break
        if not piece:
            break
        text += piece.decode(errors="replace")
        # A sequence that is cut waits for its end.
        whole = text if not re.search(r"\x1b[^A-Za-z]*$", text) else text[: text.rfind("\x1b")]
        text = text[len(whole) :]
        for part in re.split(r"(?<=\r)(?!\n)", whole):
            screen.feed(part)
            for number, line in enumerate(screen.lines()):
                plain = "".join(piece for piece, _ in line)
                if re.search(r"\[=+>", plain) and (not bars or bars[-1][1] != line):
                    bars.append((number, line))
    else:
        os.kill(child, signal.SIGKILL)
    os.close(master)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code != 0:
        raise SystemExit(f"{program} ended with {code}")
    return list(screen.lines()), bars


def draw(lines):
    width = COLUMNS * WIDTH + 2 * MARGIN
    height = len(lines) * HEIGHT + BAR + MARGIN
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height}" viewBox="0 0 {width:.0f} {height}" '
        'role="img" aria-labelledby="title">',
        "<title id=\"title\">What `lkstream demo` prints in a terminal</title>",
        f'<rect width="100%" height="100%" rx="8" fill="#20242c"/>',
        *(f'<circle cx="{MARGIN + 2 + 18 * dot}" cy="18" r="5.5" fill="{colour}"/>' for dot, colour in enumerate(("#d9707a", "#ebcb8b", "#a3be8c"))),
        '<g font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, \'DejaVu Sans Mono\', monospace" font-size="14">',
    ]
    for row, line in enumerate(lines):
        column = 0
        for text, style in line:
            # Words with one space between them are one piece of text, so that the picture can be searched and copied.
            for piece in re.finditer(r"\S+(?: \S+)*", text):
                x, y = MARGIN + (column + piece.start()) * WIDTH, BAR + (row + 0.75) * HEIGHT
                weight = ' font-weight="bold"' if style == "bold" else ""
                out.append(
                    f'<text x="{x:.1f}" y="{y:.1f}" fill="{COLOURS[style]}"{weight} textLength="{len(piece[0]) * WIDTH:.1f}" '
                    f'lengthAdjust="spacingAndGlyphs">{escape(piece[0])}</text>'
                )
            column += len(text)
    return "\n".join(out + ["</g>", "</svg>"]) + "\n"


def words(lines):
    """The words of the lines, without what differs in each run."""
    text = "\n".join("".join(piece for piece, _ in line) for line in lines)
    return [word for word in re.split(r"[^A-Za-z]+", text) if word and not re.fullmatch(r"[a-f]{1,}", word)]


def main():
    arguments = [argument for argument in sys.argv[1:] if argument != "--check"]
    program = arguments[0] if arguments else "target/release/lkstream"
    checking = "--check" in sys.argv
    lines, bars = run(program, ["demo", *(["--size", "16"] if checking else [])])
    while lines and not lines[-1]:
        lines.pop()
    lines.insert(0, [("$ ", "dim"), ("lkstream demo", "bold")])
    if checking:
        shown = re.findall(r"<text[^>]*>([^<]*)</text>", PICTURE.read_text())
        missing = [word for word in words(lines) if word not in " ".join(shown) and len(word) > 2]
        if missing:
            raise SystemExit(f"{PICTURE.name} does not show {missing}; draw it again")
        return
    if bars:
        row, line = bars[min(len(bars) - 1, len(bars) * 3 // 4)]
        lines.insert(row + 1, line)
    PICTURE.write_text(draw(lines))
    print(f"{PICTURE}: {len(lines)} lines")


main()
