"""Tests for the selection of workers: search, filter, order, and their form in a query."""

from __future__ import annotations

from itertools import pairwise, product
from typing import Any, cast
from urllib.parse import parse_qs

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from decnet_syslog.monitoring._problemkinds import STATES
from decnet_syslog.monitoring._selection import (
    PROBLEM,
    SORTS,
    STATE_FILTERS,
    counted,
    select,
)
from decnet_syslog.monitoring._view import SEARCH_CHARACTERS_MAX, View

from ..fleets import fleet
from ..watched import Watched

quick = settings(
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)


def worker(name: str, state: str = "ok", **facts: Any) -> dict[str, Any]:
    """The facts about a worker."""
    return {
        "name": name,
        "state": state,
        "alarms": {} if state in STATES[-5:] else {state: {}},
        "addresses": [],
        "silence": None,
        "behind_seconds": None,
        "behind_octets": None,
        "lines_per_second": 0.0,
        "lines": 0,
        "gaps": 0,
        "gap_octets": 0,
        "expires": None,
        **facts,
    }


def found(workers: list[dict[str, Any]], *words: Any, **more: Any) -> list[str]:
    """The names of the selected workers, in order."""
    return [w["name"] for w in select(cast(Any, workers), *words, **more)]


class SearchTests(SynchronousTestCase):
    """The search and the filter."""

    def test_statesAreNotNames(self) -> None:
        """A search finds names, and a filter finds states: "tokyo" is not "ok"."""
        workers = [worker("tokyo", "silent"), worker("ams"), worker("ok-1", "lagging")]
        self.assertEqual(found(workers, "ok"), ["tokyo", "ok-1"])
        self.assertEqual(found(workers, "silent"), [])
        self.assertEqual(found(workers, states=["ok"]), ["ams"])
        self.assertEqual(found(workers, "o", ["silent", "ok"]), ["tokyo"])

    def test_problemIsAnyAlarm(self) -> None:
        """The filter for problems finds each worker with an alarm."""
        workers = [worker(state, state) for state in STATES]
        expected = [state for state in STATES if state not in STATES[-5:]]
        self.assertEqual(found(workers, states=[PROBLEM]), expected)

    def test_addressesMatchFromTheirBeginning(self) -> None:
        """A search for digits in a name does not find every address with that digit."""
        workers = [
            worker("a1", addresses=["10.0.0.4:51", "192.0.2.9:1"]),
            worker("b2", addresses=["[2001:db8::7]:9"]),
        ]
        self.assertEqual(found(workers, "192.0.2"), ["a1"])
        self.assertEqual(found(workers, "[2001:DB8"), ["b2"])
        self.assertEqual(found(workers, "2001:db8"), ["b2"])
        self.assertEqual(found(workers, "0.0"), [])
        self.assertEqual(found(workers, " A "), ["a1"])

    def test_countsOfFilters(self) -> None:
        """Each filter shows how many workers it finds."""
        watched = Watched()
        fleet(watched, 50)
        workers = watched.status.facts()["workers"]
        counts = counted(workers)
        self.assertEqual(set(counts), set(STATE_FILTERS))
        for state, count in counts.items():
            self.assertEqual(len(select(workers, states=[state])), count, state)
        self.assertEqual(counts["silent"], 2)
        self.assertEqual(counts[PROBLEM], 7)


class SortTests(SynchronousTestCase):
    """The orders."""

    def test_worstFirst(self) -> None:
        """By default the worst state comes first, and absent workers after present ones."""
        workers = [worker(state, state) for state in sorted(STATES)]
        self.assertEqual(found(workers), list(STATES))

    def test_numbersInNames(self) -> None:
        """Numbers in names are sorted as numbers."""
        names = ["w10", "w9", "W1", "v2", "w", "10", "9", ""]
        expected = ["", "9", "10", "v2", "w", "W1", "w9", "w10"]
        workers = [worker(name) for name in names]
        self.assertEqual(found(workers, sort="name"), expected)
        self.assertEqual(found(workers, sort="name", reverse=True), expected[::-1])

    def test_greatestFirst(self) -> None:
        """
        Lag, rates and gaps begin with the greatest, certificates with the first to
        expire; reverse turns them around.
        """
        for sort, key, descends in (
            ("lag", "behind_seconds", True),
            ("undelivered", "behind_octets", True),
            ("rate", "lines_per_second", True),
            ("lines", "lines", True),
            ("heard", "silence", True),
            ("gaps", "gaps", True),
            ("expires", "expires", False),
        ):
            workers = [{**worker(f"w{n}"), key: n} for n in (2, 1, 3)]
            expected = ["w3", "w2", "w1"] if descends else ["w1", "w2", "w3"]
            self.assertEqual(found(workers, sort=sort), expected, sort)
            turned = found(workers, sort=sort, reverse=True)
            self.assertEqual(turned, expected[::-1], sort)

    def test_addressesAsNumbers(self) -> None:
        """Addresses are sorted as numbers; a worker without one comes last."""
        workers = [
            worker("none"),
            worker("six", addresses=["[2001:db8::1]:1"]),
            worker("ten", addresses=["10.0.0.1:1"]),
            worker("nine", addresses=["9.0.0.1:1"]),
            worker("odd", addresses=["somewhere"]),
        ]
        expected = ["nine", "ten", "six", "none", "odd"]
        self.assertEqual(found(workers, sort="address"), expected)

    def test_nothingIsLost(self) -> None:
        """
        Each order shows every worker once, unknown values last, and equal values by name.
        """
        keys = ("behind_seconds", "behind_octets", "silence", "expires")
        for values in product((None, 0, 1), repeat=4):
            workers = [
                {**worker(f"w{n}"), **dict.fromkeys(keys, value)}
                for n, value in enumerate(values)
            ]
            for sort, reverse in product(SORTS, (False, True)):
                shown = select(cast(Any, workers), sort=sort, reverse=reverse)
                names = [w["name"] for w in shown]
                self.assertEqual(sorted(names), ["w0", "w1", "w2", "w3"])
                if sort in ("lag", "undelivered", "heard", "expires"):
                    seen = [w["silence"] for w in shown]
                    known = [value for value in seen if value is not None]
                    self.assertEqual(seen, known + [None] * (4 - len(known)))
                for before, after in pairwise(shown):
                    key = SORTS[sort].key
                    if sort != "name" and key(before) == key(after):
                        self.assertLess(before["name"], after["name"])


class ViewTests(SynchronousTestCase):
    """A view as a query."""

    _views = st.builds(
        View,
        st.text(max_size=SEARCH_CHARACTERS_MAX)
        .map(str.strip)
        .filter(lambda text: text.encode("utf-8", "replace").decode() == text),
        st.sampled_from(("", *STATE_FILTERS)),
        st.sampled_from(sorted(SORTS)),
        st.booleans(),
        st.sampled_from((None, True, False)),
        st.integers(1, 99_999),
    )

    @quick
    @given(_views)
    def test_linkLeadsBack(self, view: View) -> None:
        """The link to a view selects this view."""
        query = view.link(page=view.page).removeprefix("?").removeprefix(".")
        arguments = {
            name.encode(): [value.encode("utf-8", "replace") for value in values]
            for name, values in parse_qs(query, strict_parsing=bool(query)).items()
        }
        self.assertEqual(View.of(arguments), view)

    @quick
    @given(
        st.dictionaries(
            st.sampled_from([b"q", b"state", b"sort", b"lines", b"page", b"x"]),
            st.lists(st.binary(max_size=99), max_size=2),
        )
    )
    def test_anyQuery(self, arguments: dict[bytes, list[bytes]]) -> None:
        """Whatever is asked for, the view can be shown."""
        view = View.of(arguments)
        self.assertLessEqual(len(view.search), SEARCH_CHARACTERS_MAX)
        self.assertIn(view.state, ("", *STATE_FILTERS))
        self.assertIn(view.sort, SORTS)
        self.assertGreaterEqual(view.page, 1)
        view.link().encode("ascii")

    def test_defaultHasNoQuery(self) -> None:
        """The default view is the page without a query."""
        self.assertEqual(View().link(), ".")
        self.assertEqual(View(page=3).link(), ".")
        self.assertEqual(View(page=3).link(page=2), "?page=2")
        self.assertEqual(View("a b", "ok").link(sort="lag"), "?q=a+b&state=ok&sort=lag")
