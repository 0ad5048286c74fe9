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
    "campaigns.test_cluster": PROGRAMS,
    "campaigns.test_control": PROGRAMS,
    "campaigns.test_cuts": PROGRAMS,
    "campaigns.test_enumeration": PROGRAMS,
    "campaigns.test_logrotate_matrix": PROGRAMS,
    "campaigns.test_mutants": _LONG,
    "campaigns.test_pipeline": _LONG,
    "campaigns.test_siege": PROGRAMS,
    "commands.test_offset": PROGRAMS,
    "commands.test_prove": PROGRAMS,
    "commands.test_tail": PROGRAMS,
    "configuration.test_configuration": PROGRAMS,
    "configuration.test_decnet": PROGRAMS,
    "configuration.test_reread": PROGRAMS,
    "contracts.test_journal": PROGRAMS,
    "conversations.test_balanced": PROGRAMS,
    "conversations.test_containers": PROGRAMS,
    "conversations.test_handshakes": PROGRAMS,
    "conversations.test_jetstream": PROGRAMS,
    "conversations.test_jetstream_moving": PROGRAMS,
    "conversations.test_logrotate": PROGRAMS,
    "conversations.test_outputs": PROGRAMS,
    "conversations.test_own_files": PROGRAMS,
    "conversations.test_peers": PROGRAMS,
    "conversations.test_processes": PROGRAMS,
    "conversations.test_senders_of_others": PROGRAMS,
    "conversations.test_status": PROGRAMS,
    "conversations.test_trust": PROGRAMS,
    "doctor.test_doctor": PROGRAMS,
    "files.test_archives": PROGRAMS,
    "files.test_closes": _INOTIFY,
    "files.test_reconcile": _LONG,
    "files.test_rotation": PROGRAMS,
    "hotpath.test_hotpath": _LONG,
    "journal.test_damaged": PROGRAMS,
    "journal.test_space": PROGRAMS,
    "monitoring.test_browser": PROGRAMS,
    "monitoring.test_documentation": PROGRAMS,
    "monitoring.test_operators": PROGRAMS,
    "nats.test_access": PROGRAMS,
    "nats.test_history": PROGRAMS,
    "nats.test_journal": PROGRAMS,
    "nats.test_opening": PROGRAMS,
    "nats.test_status": PROGRAMS,
    "nats.test_written": PROGRAMS,
    "outputs.test_moved": _LONG,
    "outputs.test_process": PROGRAMS,
    "test_docs": PROGRAMS,
    "test_enrolling_page": PROGRAMS,
    "test_howto": PROGRAMS,
    "test_kit": PROGRAMS,
    "test_logs": PROGRAMS,
    "test_manual": PROGRAMS,
    "test_mistakes": PROGRAMS,
    "test_notify": PROGRAMS,
    "test_readme": PROGRAMS,
    "test_signals": PROGRAMS,
    "trust.test_enrolling": _LONG,
    "trust.test_installing": _LONG,
    "trust.test_openssl": PROGRAMS,
    "wire.test_record": _LONG,
    "wire.test_record_fast": _LONG,
    "worker.test_inotify": _INOTIFY,
    "worker.test_masterselector": PROGRAMS,
    "worker.test_stateopening": PROGRAMS,
}

# Members of the quick suite that import modules which can start programs, and the
# programs that they start.
MAY_START = {
    "files.test_statedatabase": "one Python that dies",
    "journal.test_sqlite": "two Pythons that die",
    "monitoring.test_problems": "nothing: it asks for the name of this host",
    "outputs.test_pipe": "a pair of sockets",
    "receiving.test_limits": "one socket, to read its options",
    "test_cli": "bash, to complete words, and one Python",
    "test_house": "one Python, to list its imports",
}


def quickModules() -> list[str]:
    """The names of the quick suite's modules, sorted: C{["tests.trust.test_admission", ...]}."""
    here = Path(__file__).parent
    names = sorted(
        ".".join(path.relative_to(here).with_suffix("").parts)
        for path in here.rglob("test_*.py")
    )
    return [f"tests.{name}" for name in names if name not in LEFT_OUT]


def testSuite() -> TestSuite:
    """Called by trial when it loads this module."""
    suite: TestSuite = TestLoader().loadByNames(quickModules())
    return suite
