"""The compiled module, if there is what it takes to build it; setup.cfg has all else."""

from importlib.util import find_spec

from setuptools import setup
from setuptools.command.build_ext import build_ext


class BuildBeside(build_ext):
    """Also leave the module beside its source: tests run there, whatever is installed."""

    def run(self) -> None:
        """Build, and copy."""
        super().run()
        self.copy_extensions_to_source()


setup(
    cffi_modules=["decnet_syslog/hotpath/_build.py:builder"]
    if find_spec("cffi")
    else [],
    cmdclass={"build_ext": BuildBeside},
)
