"""Tests for the escaping of untrusted text."""

from __future__ import annotations

import unicodedata

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from decnet_syslog.untrusted import Form, escapeUntrusted

FORMS: tuple[Form, ...] = ("quoted", "ascii", "readable")

# Everything that a str can hold, with more of the odd characters than usual.
ODD = "\x00\x1b\n\r\x7f\x85\x9b\xa0\xad\u061c\u200b\u202e\u2028\u2066\ufeff\udcff\U000e0041'\"\\"
TEXTS = st.text(st.one_of(st.sampled_from(ODD), st.characters(exclude_categories=())))

LIMITS = st.integers(5, 60)


class EscapeTests(SynchronousTestCase):
    """Untrusted text cannot harm its reader."""

    @given(TEXTS, st.one_of(st.none(), LIMITS), st.sampled_from(FORMS))
    def test_nothingHarmfulStays(self, text: str, most: int | None, form: Form) -> None:
        """
        The result has no control, format, surrogate or unassigned character, no line end, and only
        the ASCII space; it is valid UTF-8.
        """
        shown = escapeUntrusted(text, most, form)
        for one in shown:
            category = unicodedata.category(one)
            self.assertFalse(category.startswith("C"), ascii(one))
            self.assertTrue(one == " " or not category.startswith("Z"), ascii(one))
        self.assertEqual(shown.encode("utf-8").decode("utf-8"), shown)
        self.assertTrue(form == "readable" or shown.isascii())

    @given(TEXTS, LIMITS, st.sampled_from(FORMS))
    def test_neverLongerThanItsLimit(self, text: str, most: int, form: Form) -> None:
        """
        The result is never longer than its limit. It is whole if it fits; otherwise it is as long
        as possible, cut between two characters.
        """
        whole = escapeUntrusted(text, None, form)
        shown = escapeUntrusted(text, most, form)
        self.assertLessEqual(len(shown), most)
        if len(whole) <= most:
            self.assertEqual(shown, whole)
            return
        self.assertTrue(shown.endswith("..."))
        cuts = [escapeUntrusted(text[:end], None, form) for end in range(len(text))]
        self.assertIn(shown[:-3], [*cuts, ascii("")])
        fitting = [cut for cut in cuts if len(cut) <= most - 3]
        self.assertEqual(len(shown) - 3, max(map(len, fitting)))

    @given(TEXTS, TEXTS)
    def test_differentTextsLookDifferent(self, one: str, other: str) -> None:
        """Quoted and ASCII text can be read back, so no two texts look the same."""
        for form in FORMS[:2]:
            shown = [escapeUntrusted(text, None, form) for text in (one, other)]
            self.assertEqual(one == other, shown[0] == shown[1])

    def test_exampleOfEachForm(self) -> None:
        """Each form in an example; readable text keeps every script and its backslashes."""
        hostile = "a\\\x1b[31m\n\u202e\u00fc"
        self.assertEqual(escapeUntrusted(hostile), r"'a\\\x1b[31m\n\u202e\xfc'")
        self.assertEqual(
            escapeUntrusted(hostile, None, "ascii"), r"a\\\x1b[31m\n\u202e\xfc"
        )
        self.assertEqual(
            escapeUntrusted(hostile, None, "readable"), "a\\\\x1b[31m\\n\\u202e\u00fc"
        )
        self.assertEqual(escapeUntrusted("it's"), '"it\'s"')
        for text in ("gr\u00fc\u00df \u65e5\u672c <b>", "\u0915\u094d\u0937", ""):
            self.assertEqual(escapeUntrusted(text, 80, "readable"), text)

    def test_hugeTextIsCut(self) -> None:
        """Of a huge text only the part is escaped that can be shown."""
        for form, expected in zip(
            FORMS, ("'xx'...", "xxxx...", "xxxx..."), strict=True
        ):
            self.assertEqual(escapeUntrusted("x" * 10**7, 7, form), expected)
