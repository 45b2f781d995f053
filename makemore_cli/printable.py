"""Texts that are not ours, made safe to print.

Much of what is printed comes from others: names, paths, settings of somebody else's run. It must not move the cursor,
recolour the screen, or read in another order than it is written in.
"""

from __future__ import annotations

import re

# Control characters, C1 and DEL among them; the ends of lines and paragraphs; what changes the direction of writing, is
# not seen, or stands for a tag; and halves of surrogate pairs, as undecodable file names have them. What joins letters
# or keeps them apart (U+200C, U+200D) stays: some languages' names need it.
CONTROLS = (
    "\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f"
)
UNPRINTABLE = re.compile(f"[{CONTROLS}]")
_UNPRINTABLE_BUT_NEWLINES = re.compile(f"(?!\n)[{CONTROLS}]")


def printable(text: str, *, newlines: bool = False) -> str:
    """The text on one line, with what might steer a terminal written as Python shows it in a string.

    With `newlines` these stay. What has been made printable stays as it is.
    """
    pattern = _UNPRINTABLE_BUT_NEWLINES if newlines else UNPRINTABLE
    return pattern.sub(lambda found: repr(found[0])[1:-1], text)
