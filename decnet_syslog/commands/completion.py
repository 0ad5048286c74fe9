"""decnet-syslog completion: a script for a shell to complete our commands."""

from __future__ import annotations

import importlib

from twisted.python import usage

from ..options import Described, nearest
from .helptext import Command, Option, describe

__all__ = ["Options", "completionScript", "run"]

_BASH = """\
# Completion of decnet-syslog for bash, made by "decnet-syslog completion bash".
_decnet_syslog() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} path="" part words
    for part in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
        [[ $part == -* ]] || path+=" $part"
    done
    case "$path " in
{cases}
    esac
    COMPREPLY=($(compgen -W "$words" -- "$word"))
    [[ ${{#COMPREPLY[@]}} -gt 0 ]] || COMPREPLY=($(compgen -f -- "$word"))
}}
complete -o filenames -F _decnet_syslog decnet-syslog
"""

_ZSH = """\
#compdef decnet-syslog
# Completion of decnet-syslog for zsh, made by "decnet-syslog completion zsh".
_decnet_syslog() {{
    local path_="" word
    local -a commands options
    for word in "${{(@)words[2,CURRENT-1]}}"; do
        [[ $word == -* ]] || path_+=" $word"
    done
    case "$path_ " in
{cases}
    esac
    [[ ${{#commands}} -eq 0 ]] || _describe -t commands command commands
    _arguments -S "$options[@]" '*: :_files'
}}
_decnet_syslog "$@"
"""

_FISH = """\
# Completion of decnet-syslog for fish, made by "decnet-syslog completion fish".
function __decnet_syslog_at
    # Whether the command line is at this command, and not at one below it.
    set -l found ''
    set -l words
    for word in (commandline -opc)[2..-1]
        string match -q -- '-*' $word; and continue
        set -a words $word
        contains -- "$words" {paths}
        and set found "$words"
    end
    test "$found" = "$argv[1]"
end
{lines}
"""


class Options(Described):
    """Options of completion."""

    synopsis = "bash|zsh|fish"
    longdesc = """\
Print a script that lets a shell complete the commands and options of decnet-syslog. The packages
contain these scripts already. (Twisted has its own for twistd: see "twistd --help".)

Examples:
    decnet-syslog completion bash > /etc/bash_completion.d/decnet-syslog
    decnet-syslog completion zsh > /usr/local/share/zsh/site-functions/_decnet-syslog
    decnet-syslog completion fish > ~/.config/fish/completions/decnet-syslog.fish"""

    def parseArgs(self, shell: str = "") -> None:
        """The shell."""
        self["shell"] = shell

    def postOptions(self) -> None:
        """
        Check that the shell is supported.

        @raise usage.UsageError: it is not, or not given.
        """
        if not self["shell"]:
            raise usage.UsageError("shell missing: completion bash, zsh or fish")
        if self["shell"] not in _SCRIPTS:
            said = self["shell"][:40]
            raise usage.UsageError(
                f"the shell {said!a} is not bash, zsh or fish{nearest(said, _SCRIPTS)}"
            )


def run(options: Options) -> int:
    """Run the command. The exit status."""
    print(completionScript(options["shell"]), end="")
    return 0


def completionScript(shell: str) -> str:
    """The script for bash, zsh or fish."""
    return _SCRIPTS[shell](
        describe(importlib.import_module("decnet_syslog.cli").Options())
    )


def _bash(every: Command) -> str:
    cases = []
    for one in _deepestFirst(every):
        names = sorted(sub.path[-1] for sub in one.commands)
        names += sorted(f"--{option.name}" for option in one.options)
        cases.append(f'        {_pattern(one)}) words="{" ".join(names)}" ;;')
    return _BASH.format(cases="\n".join(cases))


def _zsh(every: Command) -> str:
    cases = []
    for one in _deepestFirst(every):
        commands = [_quoted(f"{c.path[-1]}:{_first(c.summary)}") for c in one.commands]
        options = [_zshOption(option) for option in one.options]
        cases.append(
            f"        {_pattern(one)})\n            commands=({' '.join(commands)})\n"
            + "            options=(\n"
            + "".join(f"                {option}\n" for option in options)
            + "            ) ;;"
        )
    return _ZSH.format(cases="\n".join(cases))


def _zshOption(option: Option) -> str:
    # These have a meaning in the specification of an option.
    text = _first(option.text)
    for character in "\\[]:":
        text = text.replace(character, f"\\{character}")
    value = "=" if option.takesValue else ""
    after = ":value:_files" if option.takesValue else ""
    return _quoted(f"--{option.name}{value}[{text}]{after}")


def _fish(every: Command) -> str:
    paths, lines = [], []
    for one in every.walk():
        path = " ".join(one.path)
        paths.append(_quoted(path))
        begin = f'complete -c decnet-syslog -n "__decnet_syslog_at {_quoted(path)}"'
        if one.commands:
            lines.append(f"{begin} -f")
        lines += [
            f"{begin} -a {sub.path[-1]} -d {_fishText(sub.summary)}"
            for sub in one.commands
        ]
        for option in one.options:
            letter = f" -s {option.short}" if option.short else ""
            value = " -r" if option.takesValue else ""
            said = _fishText(option.text)
            lines.append(f"{begin}{letter} -l {option.name}{value} -d {said}")
    return _FISH.format(paths=" ".join(paths), lines="\n".join(lines))


def _fishText(text: str) -> str:
    said = _first(text).replace("\\", "\\\\").replace("'", "\\'")
    return f"'{said}'"


def _deepestFirst(every: Command) -> list[Command]:
    """Arguments may follow a command, so its subcommands come first."""
    return sorted(every.walk(), key=lambda one: -len(one.path))


def _pattern(one: Command) -> str:
    """The command and whatever follows it, as a pattern of bash and zsh."""
    return f'" {" ".join(one.path)} "*' if one.path else "*"


def _first(text: str) -> str:
    """The beginning of a text: a line of a menu is short."""
    said = text.partition(";")[0].partition(". ")[0].rstrip(".")
    return said if len(said) < 72 else f"{said[:70].rpartition(' ')[0]} ..."


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


_SCRIPTS = {"bash": _bash, "zsh": _zsh, "fish": _fish}
