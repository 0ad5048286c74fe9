"""decnet-syslog completion: a script for a shell to complete our commands."""

from __future__ import annotations

import importlib

from twisted.python import usage

from ..options import Described

__all__ = ["Options", "complete", "run"]

_BASH = """\
# Completion of decnet-syslog for bash:
#     decnet-syslog completion bash > /etc/bash_completion.d/decnet-syslog
_decnet_syslog() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} path="" part words
    for part in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
        [[ $part == -* ]] || path+=" $part"
    done
    case "$path" in
{cases}
        *) words="" ;;
    esac
    COMPREPLY=($(compgen -W "$words" -- "$word"))
    [[ ${{#COMPREPLY[@]}} -gt 0 ]] || COMPREPLY=($(compgen -f -- "$word"))
}}
complete -o filenames -F _decnet_syslog decnet-syslog
"""


class Options(Described):
    """Options of completion."""

    synopsis = "bash"
    longdesc = """\
Print a script that lets bash complete the commands and options of decnet-syslog. (Twisted
has its own for twistd: see "twistd --help".)

Example:
    decnet-syslog completion bash > /etc/bash_completion.d/decnet-syslog"""

    def parseArgs(self, shell: str = "") -> None:
        """The shell."""
        self["shell"] = shell

    def postOptions(self) -> None:
        """Check that the shell is supported."""
        if self["shell"] != "bash":
            raise usage.UsageError(
                "shell missing: only bash is supported: completion bash"
            )


def complete(options: usage.Options, path: str = "") -> list[str]:
    """The script's cases for a command and its subcommands."""
    names = {f"--{name.rstrip('=')}" for name in options.longOpt}
    commands = {name: make for name, _, make, _ in getattr(options, "subCommands", ())}
    words = " ".join([*sorted(commands), *sorted(names)])
    # Arguments of the command itself may follow it.
    tail = '"" )' if not path else f'"{path}"* )'
    cases = []
    for name, make in commands.items():
        cases += complete(make(), f"{path} {name}")
    return [*cases, f'        {tail} words="{words}" ;;']


def run(options: Options) -> int:
    """Run the command. The exit status."""
    table: usage.Options = importlib.import_module("decnet_syslog.cli").Options()
    print(_BASH.format(cases="\n".join(complete(table))), end="")
    return 0
