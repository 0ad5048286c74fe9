"""Builds the compiled module if cffi is installed; setup.cfg has the rest of the metadata."""

import sysconfig
from importlib.util import find_spec

from setuptools import setup
from setuptools.command.build_ext import build_ext


class BuildBeside(build_ext):
    """Also copies the module next to its source, where the tests of a checkout import it."""

    def run(self) -> None:
        """Build and copy."""
        super().run()
        self.copy_extensions_to_source()


# One wheel for every Python release, except where the stable ABI does not exist.
ABI3 = not sysconfig.get_config_var("Py_GIL_DISABLED")

# Without cffi, setuptools does not know this keyword.
modules = {"cffi_modules": ["decnet_syslog/hotpath/_build.py:builder"]}

setup(
    **(modules if find_spec("cffi") else {}),
    cmdclass={"build_ext": BuildBeside},
    options={"bdist_wheel": {"py_limited_api": "cp310"}} if ABI3 else {},
)
