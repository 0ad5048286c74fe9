"""Tests for the manual pages, and for the files in share/ that are made from the help."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from decnet_syslog.cli import Options
from decnet_syslog.commands.completion import completionScript
from decnet_syslog.commands.manual import manualPages

from .peers import requirePeer
from .test_cli import commands, said

SHARE = Path(__file__).parent.parent / "share"

ANEW = "run .ci/share (nox -s share): it is not what the help says now"


class ShareTests(SynchronousTestCase):
    """The files in share/, which the packages contain."""

    def test_pagesAreFresh(self) -> None:
        """The manual pages have the present texts of the help."""
        there = {path.name: path for path in SHARE.glob("man/man*/*")}
        text = there["decnet-syslog.1"].read_text("utf-8")
        date = re.search(r'"([0-9]{4}-[0-9]{2}-[0-9]{2})"', text)
        assert date is not None
        pages = manualPages(date[1])
        self.assertEqual(set(there), set(pages), ANEW)
        for name, page in pages.items():
            self.assertEqual(there[name].read_text("utf-8"), page, f"{name}: {ANEW}")
            self.assertEqual(there[name].parent.name, f"man{name[-1]}")

    def test_completionsAreFresh(self) -> None:
        """The completion scripts have the present commands and options."""
        for shell, name in (
            ("bash", "bash-completion/completions/decnet-syslog"),
            ("zsh", "zsh/site-functions/_decnet-syslog"),
            ("fish", "fish/vendor_completions.d/decnet-syslog.fish"),
        ):
            text = (SHARE / name).read_text("utf-8")
            self.assertEqual(text, completionScript(shell), f"{name}: {ANEW}")


class PageTests(SynchronousTestCase):
    """The pages as formatters read them."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).resolve()
        status, out = said("manual", str(self.directory), "--date=2026-11-28")
        self.assertEqual(status, 0, out)
        self.pages = sorted(self.directory.glob("man*/*"))
        self.assertIn(f"{len(self.pages)} pages", out)

    def test_noWarnings(self) -> None:
        """mandoc and groff accept each page without a warning."""
        for words in (
            [requirePeer("mandoc"), "-T", "lint", "-W", "warning"],
            [requirePeer("groff"), "-man", "-Tutf8", "-ww", "-z"],
        ):
            done = subprocess.run(
                [*words, *map(str, self.pages)], capture_output=True, text=True
            )
            self.assertEqual(done.stdout + done.stderr, "", words[0])
            self.assertEqual(done.returncode, 0)

    def test_everyOption(self) -> None:
        """A reader finds every option of every command on the page of that command."""
        program = requirePeer("mandoc")
        shown = {
            path.name: re.sub(
                r".\x08",
                "",
                subprocess.run(
                    [program, "-T", "utf8", str(path)],
                    capture_output=True,
                    text=True,
                    check=True,
                ).stdout,
            )
            for path in self.pages
        }
        services = ("forwarder", "listener", "outputs")
        for path, options in commands(Options()):
            name = "-".join(("decnet-syslog", *path[:1]))
            page = shown[f"{name}.1"]
            if path[1:] and path[-1] in services:
                # Its options are on the page of the service.
                page += shown[f"decnet-syslog-{path[-1]}.1"]
                self.assertIn(f"decnet-syslog-{path[-1]}(1)", shown[f"{name}.1"])
            for word in options.longOpt:
                option = word.rstrip("=")
                found = re.search(rf"(?m)^ .*--{option}(?![a-z-])", page)
                self.assertIsNotNone(found, f"{path}: --{option}")
                if (
                    path[:1]
                    and path[0] in services
                    and option not in (*("help", "version", "config"),)
                ):
                    found = re.search(
                        rf"(?m)^ +{option}( |$)", shown["decnet-syslog.toml.5"]
                    )
                    self.assertIsNotNone(found, f"{path}: {option}")

    def test_nothingIsInterpreted(self) -> None:
        """A formatter shows quotes, backslashes and leading points as the help has them."""
        done = subprocess.run(
            [requirePeer("mandoc"), "-T", "ascii", *map(str, self.pages)],
            capture_output=True,
            text=True,
            check=True,
        )
        text = re.sub(r".\x08", "", done.stdout)
        for example in (
            "decnet-syslog forwarder --master-host master.example.org \\\n",
            "decnet-syslog tail decky-01 --json | jq -r .attacker_ip\n",
            "decnet-syslog tail --file '/var/log/decnet-syslog/{worker}.json' decky-01\n",
            "jq -r '.problems[].text'\n",
        ):
            self.assertTrue(example in text, example)

    def test_wrongArgumentsAreRefused(self) -> None:
        """A missing directory and a wrong date are refused."""
        self.assertEqual(said("manual")[0], 2)
        self.assertEqual(said("manual", "x", "--date=28.11.2026")[0], 2)
        self.assertFalse(Path("x").exists())
