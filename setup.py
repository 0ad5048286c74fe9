"""Builds the compiled module if cffi is installed; setup.cfg has the rest of the metadata."""

from importlib.util import find_spec

from setuptools import setup
from setuptools.command.build_ext import build_ext


class BuildBeside(build_ext):
    """Also copies the module next to its source, where the tests of a checkout import it."""

    def run(self) -> None:
        """Build and copy."""
        super().run()
        self.copy_extensions_to_source()


setup(
    cffi_modules=["decnet_syslog/hotpath/_build.py:builder"]
    if find_spec("cffi")
    else [],
    cmdclass={"build_ext": BuildBeside},
)
