"""
Developer commands. C{nox --list} shows them, and CONTRIBUTING.rst says when to use which.

Each session has a virtual environment of its own in C{.nox/}. C{nox -R -s quick} reuses it, and
words behind C{--} go to the program that the session runs.
"""

from __future__ import annotations

import nox

# As in setup.cfg and in the workflow; a test compares them.
PYTHONS = ("3.10", "3.11", "3.12", "3.13")

nox.options.sessions = ["lint", "types", "quick"]
nox.options.reuse_existing_virtualenvs = True


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Run the whole suite, or the test modules that are named behind --."""
    session.install("-e", ".[test]")
    session.run("python", "-m", "twisted.trial", "-j2", *(session.posargs or ["tests"]))


@nox.session(python=PYTHONS)
def quick(session: nox.Session) -> None:
    """Run the quick suite: everything in memory, in less than a minute on two cores."""
    session.install("-e", ".[test]")
    session.run("python", "-m", "twisted.trial", "-j2", "tests.quick")


@nox.session
def push(session: nox.Session) -> None:
    """Run the quick suite on the Python that runs nox: the hook's session at each push."""
    session.install("-e", ".[test]")
    session.run("python", "-m", "twisted.trial", "-j2", "tests.quick")


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and format; with -- --fix, correct them."""
    session.install("ruff >= 0.9")
    fix = "--fix" in session.posargs
    session.run("ruff", "check", *["--fix"] * fix, ".")
    session.run("ruff", "format", *["--check"] * (not fix), ".")


@nox.session
def types(session: nox.Session) -> None:
    """Check the types."""
    session.install("-e", ".[test,lint]")
    session.run("mypy", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation in docs/_build; a warning is an error."""
    session.install(".[docs]")
    session.run(
        *("python", "-m", "sphinx", "-W", "--keep-going", "-q"),
        *("-b", "html", "docs", "docs/_build"),
    )


@nox.session
def bench(session: nox.Session) -> None:
    """Run one benchmark: nox -s bench -- micro."""
    name, *arguments = session.posargs or ["micro"]
    session.install("-e", ".[test,benchmark]")
    session.run("python", "-m", f"benchmarks.{name}", *arguments)


@nox.session(python=PYTHONS)
def sdist(session: nox.Session) -> None:
    """Make an sdist, unpack it, and run the quick suite from it."""
    session.install("build")
    session.run("python", ".ci/sdist", *session.posargs)


@nox.session
def pictures(session: nox.Session) -> None:
    """Take the pictures of the status page in docs/pictures; needs Chromium."""
    session.install("-e", ".[test]", "pillow")
    session.run("python", "-m", "benchmarks.pictures", *session.posargs)


@nox.session
def share(session: nox.Session) -> None:
    """Write manual pages and completion scripts anew, after a change to a command's help."""
    session.install("-e", ".")
    session.run("python", ".ci/share", *session.posargs)


@nox.session
def release(session: nox.Session) -> None:
    """Prepare a release: nox -s release -- 1.0.0."""
    session.install("-e", ".", "towncrier >= 23.11", "build")
    session.run("python", ".ci/release", *session.posargs)
