"""
The quick suite: the test modules that run in memory and in small files.

C{python -m twisted.trial -j2 tests.quick} runs them in under a minute on two cores. Every module
C{test_*.py} belongs to it unless L{LEFT_OUT} names it. L{tests.test_kit} checks that the members
start no program and open no socket.
"""

from __future__ import annotations

from pathlib import Path
from unittest import TestSuite

from twisted.trial.runner import TestLoader

__all__ = ["LEFT_OUT", "MAY_START", "PROGRAMS", "quickModules", "testSuite"]

# Reasons.
PROGRAMS = "starts programs, or opens sockets"
_LONG = "computes for several seconds"
_INOTIFY = "needs an instance of inotify, and other programs can use them up"

LEFT_OUT = {
    "test_balanced": PROGRAMS,
    "test_cluster": PROGRAMS,
    "test_configuration": PROGRAMS,
    "test_contents": _LONG,
    "test_cuts": PROGRAMS,
    "test_damaged": PROGRAMS,
    "test_directory_watch": _INOTIFY,
    "test_docs": PROGRAMS,
    "test_doctor": PROGRAMS,
    "test_enrolling": _LONG,
    "test_enrolling_page": PROGRAMS,
    "test_enumeration": PROGRAMS,
    "test_files": PROGRAMS,
    "test_files_archives": PROGRAMS,
    "test_hotpath": _LONG,
    "test_installing": _LONG,
    "test_jetstream": PROGRAMS,
    "test_jetstream_access": PROGRAMS,
    "test_jetstream_history": PROGRAMS,
    "test_jetstream_moving": PROGRAMS,
    "test_jetstream_opening": PROGRAMS,
    "test_jetstream_running": PROGRAMS,
    "test_jetstream_status": PROGRAMS,
    "test_jetstream_written": PROGRAMS,
    "test_journal_contract": PROGRAMS,
    "test_journal_disk": PROGRAMS,
    "test_kit": PROGRAMS,
    "test_late_writers": _INOTIFY,
    "test_logrotate": PROGRAMS,
    "test_logrotate_matrix": PROGRAMS,
    "test_logs": PROGRAMS,
    "test_manual": PROGRAMS,
    "test_masters": PROGRAMS,
    "test_matrix": PROGRAMS,
    "test_mutants": _LONG,
    "test_neighbours": PROGRAMS,
    "test_notify": PROGRAMS,
    "test_openssl": PROGRAMS,
    "test_outputprocess": PROGRAMS,
    "test_outputs_moved": _LONG,
    "test_outputs_running": PROGRAMS,
    "test_peers": PROGRAMS,
    "test_pipeline": _LONG,
    "test_processes": PROGRAMS,
    "test_prove": PROGRAMS,
    "test_readme": PROGRAMS,
    "test_record": _LONG,
    "test_record_fast": _LONG,
    "test_rotation": PROGRAMS,
    "test_siege": PROGRAMS,
    "test_signals": PROGRAMS,
    "test_tailing": PROGRAMS,
    "test_trust_running": PROGRAMS,
    "test_watch_browser": PROGRAMS,
    "test_watch_docs": PROGRAMS,
    "test_watch_operators": PROGRAMS,
    "test_watch_running": PROGRAMS,
}

# Members of the quick suite that import modules which can start programs, and the
# programs that they start.
MAY_START = {
    "test_cli": "bash, to complete words, and one Python",
    "test_house": "one Python, to list its imports",
    "test_journal": "two Pythons that die",
    "test_limits": "one socket, to read its options",
    "test_outputpipe": "a pair of sockets",
    "test_state": "one Python that dies",
}


def quickModules() -> list[str]:
    """The names of the quick suite's modules, sorted: C{["tests.test_admission", ...]}."""
    here = Path(__file__).parent
    names = sorted(path.stem for path in here.glob("test_*.py"))
    return [f"tests.{name}" for name in names if name not in LEFT_OUT]


def testSuite() -> TestSuite:
    """Called by trial when it loads this module."""
    suite: TestSuite = TestLoader().loadByNames(quickModules())
    return suite
