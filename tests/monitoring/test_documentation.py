"""
Tests that docs/watching.rst and docs/examples/prometheus-alerts.yml agree with the
code.
"""

from __future__ import annotations

import json
import re
import subprocess
from itertools import product
from pathlib import Path
from typing import Any, cast

from twisted.trial.unittest import SynchronousTestCase

from decnet_syslog.master.tap import Options as ListenerOptions
from decnet_syslog.monitoring._events import KINDS
from decnet_syslog.monitoring._service import STATUS_PARAMETERS
from decnet_syslog.monitoring._workerstate import ALARMS

from ..peers import requirePeer
from ..reading import ask
from ..watched import Watched

ROOT = Path(__file__).parent.parent.parent
RULES = ROOT / "docs/examples" / "prometheus-alerts.yml"

DASHBOARD = ROOT / "docs/examples" / "grafana.json"

# Every clone contains the pictures.
PICTURES_OCTETS_MAX = 1_500_000

_METRIC = re.compile(r"^``(decnet_\w+)`` +(\w+) ", re.MULTILINE)
_KIND = re.compile(r"^``([a-z-]+)`` +(Alarm: )?", re.MULTILINE)


def text() -> str:
    """The reference's text."""
    return (ROOT / "docs/watching.rst").read_text("utf-8")


def documented() -> dict[str, str]:
    """The metrics in the reference: name and type."""
    return dict(_METRIC.findall(text()))


class ReferenceTests(SynchronousTestCase):
    """The reference lists everything; for metrics see test_watch_running."""

    def test_kindsOfEvents(self) -> None:
        """The reference lists every kind of event, and marks the alarms."""
        page = text()
        start, end = page.index("\nEvents\n"), page.index("\nMetrics\n")
        found = dict(_KIND.findall(page[start:end]))
        self.assertEqual(set(found), set(KINDS))
        alarms = {kind for kind, alarm in found.items() if alarm}
        # A gap is not a state; it is shown like one for some time.
        self.assertEqual(alarms, set(ALARMS) - {"gap"})

    def test_statusOptions(self) -> None:
        """
        The reference lists every status option; Sphinx checks the options' own
        reference.
        """
        options = {f"--{row[0]}" for row in STATUS_PARAMETERS}
        options.add("--hide-lines")
        self.assertIn(
            "hide-lines", [row[0] for row in cast(Any, ListenerOptions).optFlags]
        )
        page = text()
        start, end = page.index("\nOption, at both ends\n"), page.index("\nPath\n")
        found = set(re.findall(r"^``(--[a-z-]+)`` ", page[start:end], re.MULTILINE))
        self.assertEqual(found, options)

    def test_servedPaths(self) -> None:
        """Every path in the reference is served."""
        watched = Watched()
        watched.enroll("NAME")
        watched.look()
        found = set(re.findall(r"``(/[A-Za-z./]*)``", text()))
        self.assertGreaterEqual(len(found), 6)
        for path in found:
            self.assertEqual(ask(watched, path)[0], 200, path)

    def test_loggedKinds(self) -> None:
        """Every kind of event that the code logs is in the table."""
        raised: set[str] = set()
        for path in (ROOT / "decnet_syslog").rglob("*.py"):
            raised |= set(re.findall(r'event="([a-z-]+)"', path.read_text("utf-8")))
        self.assertIn("collision", raised)
        self.assertEqual(raised - set(KINDS), set())


class PictureTests(SynchronousTestCase):
    """The pictures of the pages, made by benchmarks/pictures.py."""

    def test_picturesAreShown(self) -> None:
        """Each page is there in both widths and themes, shown, and all are small."""
        pages = ("fleet-3", "fleet-50", "fleet-500", "worker")
        expected = {
            f"{page}-{width}-{theme}.png"
            for page, width, theme in product(pages, (1280, 390), ("light", "dark"))
        }
        pictures = {
            path.name: path.read_bytes() for path in (ROOT / "docs/pictures").iterdir()
        }
        self.assertEqual(set(pictures), expected)
        shown = set(re.findall(r"image:: pictures/(\S+)$", text(), re.MULTILINE))
        self.assertEqual(shown, expected)
        for name, octets in pictures.items():
            self.assertTrue(octets.startswith(b"\x89PNG\r\n"), name)
            width = int.from_bytes(octets[16:20], "big")
            self.assertEqual(width, int(name.split("-")[-2]), name)
        total = sum(len(octets) for octets in pictures.values())
        self.assertLess(total, PICTURES_OCTETS_MAX)


class DashboardTests(SynchronousTestCase):
    """The Grafana dashboard."""

    def setUp(self) -> None:
        self.board = json.loads(DASHBOARD.read_text("utf-8"))
        self.expressions = [
            target["expr"]
            for panel in self.board["panels"]
            for target in panel["targets"]
        ] + [one["expr"] for one in self.board["annotations"]["list"]]

    def test_metricsExist(self) -> None:
        """The dashboard uses only existing metrics."""
        used = set(re.findall(r"\bdecnet_\w+", " ".join(self.expressions)))
        names = {name.removesuffix("_bucket") for name in used}
        self.assertGreater(len(names), 20)
        self.assertEqual(names - set(documented()), set())

    def test_variablesExist(self) -> None:
        """The dashboard uses only its own variables and Grafana's."""
        asked = {one["name"] for one in self.board["templating"]["list"]}
        used = set(re.findall(r"\$\{?(\w+)", json.dumps(self.board)))
        self.assertEqual(used - {"__rate_interval", "__all"}, asked)

    def test_panelsDoNotOverlap(self) -> None:
        """No panels overlap or exceed the 24 columns."""
        taken: set[tuple[int, int]] = set()
        for panel in self.board["panels"]:
            at = panel["gridPos"]
            place = {
                (x, y)
                for x in range(at["x"], at["x"] + at["w"])
                for y in range(at["y"], at["y"] + at["h"])
            }
            self.assertEqual(place & taken, set(), panel["title"])
            self.assertLessEqual(at["x"] + at["w"], 24)
            taken |= place
        ids = [panel["id"] for panel in self.board["panels"]]
        self.assertEqual(len(set(ids)), len(ids))

    def test_expressionsAreValid(self) -> None:
        """Prometheus accepts every expression of the dashboard."""
        rules = []
        for number, expression in enumerate(self.expressions):
            for variable, value in (
                ("$__rate_interval", "5m"),
                ("$instance", ".*"),
                ("$worker", ".*"),
            ):
                expression = expression.replace(variable, value)
            rules.append({"record": f"panel_{number}", "expr": expression})
        path = Path(self.mktemp())
        # JSON is YAML.
        path.write_text(json.dumps({"groups": [{"name": "all", "rules": rules}]}))
        done = subprocess.run(
            [requirePeer("promtool"), "check", "rules", str(path)], capture_output=True
        )
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)


class RulesTests(SynchronousTestCase):
    """The alerting rules."""

    def test_metricsExist(self) -> None:
        """The rules use only existing metrics."""
        used = set(
            re.findall(
                r"\bdecnet_(?:listener|forwarder|outputs)_\w+", RULES.read_text()
            )
        )
        known = documented()
        names = {name.removesuffix("_bucket") for name in used}
        self.assertGreater(len(names), 8)
        self.assertEqual(names - set(known), set())

    def test_rulesFire(self) -> None:
        """Each rule fires when it should, and none fires when everything is well."""
        cases = ROOT / "tests/data/alerts.yml"
        expected = set(re.findall(r'alertname="(\w+)"', cases.read_text()))
        self.assertEqual(
            expected, set(re.findall(r"- alert: (\w+)", RULES.read_text()))
        )
        done = subprocess.run(
            [requirePeer("promtool"), "test", "rules", str(cases)], capture_output=True
        )
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
