"""Java's regular expressions in Python's words, or refused where the two would not match the same.

Source: java.util.regex.Pattern. Classes of Java are ASCII ones (re.ASCII), its RegexSerDe lets the dot match line ends
(re.DOTALL).
"""

from __future__ import annotations

import re

from hivemill.common.errors import ConfigError

_POSIX = {
    "Lower": "a-z",
    "Upper": "A-Z",
    "ASCII": r"\x00-\x7f",
    "Alpha": "a-zA-Z",
    "Digit": "0-9",
    "Alnum": "a-zA-Z0-9",
    "Punct": r"!-/:-@\[-`{-~",
    "Graph": "!-~",
    "Print": " -~",
    "Blank": r" \t",
    "Cntrl": r"\x00-\x1f\x7f",
    "XDigit": "0-9a-fA-F",
    "Space": r" \t\n\x0b\f\r",
}
_SAME = frozenset("dDwWsSbBtnrfaA0123456789")
_ONE = {"e": r"\x1b", "z": r"\Z"}
_CLASSES = {"h": r" \t\xa0\u1680\u180e\u2000-\u200a\u202f\u205f\u3000", "v": r"\n\x0b\f\r\x85\u2028\u2029"}


def python_pattern(java: str, *, ignore_case: bool) -> re.Pattern[str]:
    """The compiled pattern. Raises ConfigError naming what is not supported."""
    translated = _Translator(java).run()
    flags = re.DOTALL | re.ASCII | (re.IGNORECASE if ignore_case else 0)
    try:
        return re.compile(translated, flags)
    except (re.error, OverflowError, RecursionError) as error:
        raise ConfigError(f"input.regex {java!r} is no regular expression: {error}") from error


class _Translator:
    """One walk over the pattern; `depth` says whether it is inside [...]."""

    def __init__(self, java: str):
        self.java = java
        self.place = 0
        self.parts: list[str] = []
        self.in_class = False
        self.class_start = 0

    def run(self) -> str:
        while self.place < len(self.java):
            letter = self.java[self.place]
            if letter == "\\":
                self.escape()
            elif self.in_class:
                self.class_letter(letter)
            else:
                self.letter(letter)
        if self.in_class:
            raise self.refused("a [ that is never closed")
        return "".join(self.parts)

    def rest(self, length: int = 1) -> str:
        return self.java[self.place : self.place + length]

    def emit(self, text: str, length: int) -> None:
        self.parts.append(text)
        self.place += length

    def letter(self, letter: str) -> None:
        if letter == "[":
            self.in_class = True
            negated = self.rest(2) == "[^"
            self.emit("[^" if negated else "[", 1 + negated)
            self.class_start = self.place
        elif letter == "(" and self.rest(2) == "(?":
            self.group()
        elif letter == "{":
            if not re.match(r"\{\d+(,\d*)?\}", self.java[self.place :]):
                raise self.refused("a { that begins no quantifier")
            self.emit(letter, 1)
        elif letter in "?*+}" and self.rest(2)[1:] == "+":
            raise self.refused("a possessive quantifier")
        elif letter == "$":
            # before a line end at the end of the text in Java, too; a row has none there but for a SequenceFile
            self.emit("$", 1)
        else:
            self.emit(letter, 1)

    def class_letter(self, letter: str) -> None:
        if letter == "]" and self.place > self.class_start:
            self.in_class = False
        elif letter in "[]" or self.rest(2) == "&&":
            raise self.refused("a class inside a class" if letter != "&" else "&& in a class")
        elif self.rest(2) in ("--", "||", "~~"):
            raise self.refused(f"{self.rest(2)} in a class")
        self.emit(letter, 1)

    def group(self) -> None:
        text = self.java[self.place :]
        if match := re.match(r"\(\?<([A-Za-z][A-Za-z0-9]*)>", text):
            self.emit(f"(?P<{match[1]}>", match.end())
        elif match := re.match(r"\(\?(:|=|!|<=|<!)" + (r"|\(\?[is]+\)" if self.place == 0 else ""), text):
            self.emit(match[0], match.end())
        else:
            raise self.refused(f"the group {text[:4]}...")

    def escape(self) -> None:
        letter = self.java[self.place + 1 : self.place + 2]
        if letter == "Q":
            self.quoted()
        elif letter in ("p", "P"):
            self.posix(negated=letter == "P")
        elif letter == "k" and (match := re.match(r"\\k<(\w+)>", self.java[self.place :])):
            self.emit(f"(?P={match[1]})", match.end())
        elif letter in ("x", "u") and (match := re.match(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4})", self.rest(6))):
            self.emit(match[0], match.end())
        elif letter in _CLASSES:
            self.emit(_CLASSES[letter] if self.in_class else f"[{_CLASSES[letter]}]", 2)
        elif letter in _ONE and not self.in_class:
            self.emit(_ONE[letter], 2)
        elif letter and letter in _SAME and not (self.in_class and letter in "bBA0123456789") and letter != "0":
            self.emit(f"\\{letter}", 2)
        elif letter and not (letter.isascii() and letter.isalnum()):
            self.emit(re.escape(letter), 2)
        else:
            raise self.refused(f"\\{letter}")

    def quoted(self) -> None:
        end = self.java.find("\\E", self.place + 2)
        text = self.java[self.place + 2 : end if end >= 0 else len(self.java)]
        self.emit(re.escape(text), len(text) + (4 if end >= 0 else 2))

    def posix(self, negated: bool) -> None:
        match = re.match(r"\\[pP]\{(\w+)\}", self.java[self.place :])
        ranges = _POSIX.get(match[1]) if match else None
        if match is None or ranges is None or (negated and self.in_class):
            raise self.refused(self.rest(10))
        self.emit(ranges if self.in_class else f"[{'^' if negated else ''}{ranges}]", match.end())

    def refused(self, what: str) -> ConfigError:
        return ConfigError(
            f"input.regex {self.java!r}: {what} is not supported (place {self.place + 1})",
            hint="Python's re would read it otherwise than Java. Write the pattern without it.",
        )
