"""What all pages share: their scripts and styles, and data that stay data."""

from __future__ import annotations

import json
import re
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from makemore_cli.views.page.page import CHAIN, PLAY, REPORT_STYLE, STATIC, STYLE, TRAIN, embedded, scripts_of

VIEWS = (CHAIN, PLAY, TRAIN)
FILES = [*scripts_of(VIEWS), STYLE, REPORT_STYLE, *(view.style for view in VIEWS)]


@given(
    st.recursive(
        st.text() | st.integers() | st.none(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_nothing_in_the_data_ends_its_element(hostile: object) -> None:
    text = embedded({"": hostile, "</script>": "<!-- <script> \u2028 \ud800 & ]]>"})
    assert text.isascii()
    assert not set("<>&") & set(text)
    assert json.loads(text)[""] == hostile


def test_the_pages_own_size() -> None:
    assert sum((STATIC / file).stat().st_size for file in FILES) < 300_000


def test_every_file_is_used() -> None:
    assert sorted(str(path.relative_to(STATIC)) for path in STATIC.rglob("*") if path.is_file()) == sorted(FILES)


def test_scripts_share_their_names_without_conflict() -> None:
    """A second function of the same name would silently replace the first."""
    names: Counter[str] = Counter()
    for file in scripts_of(VIEWS):
        text = (STATIC / file).read_text(encoding="utf-8")
        assert text.startswith('"use strict";\n//'), file
        names.update(re.findall(r"^(?:async )?(?:function\*?|class|const|let) (\w+)", text, re.MULTILINE))
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|fetch\(|XMLHttp", text
        ), file
    assert [name for name, count in names.items() if count > 1] == []
