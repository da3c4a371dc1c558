"""Print a script that makes bash or zsh complete the words of avsep.

bash: add the line  eval "$(avsep completion bash)"  to ~/.bashrc; zsh: the same with
"zsh" in ~/.zshrc.
"""

import argparse
import importlib
import shlex
from dataclasses import dataclass
from typing import Dict, List

from espnet2_avsep.cli.command import str2bool
from espnet2_avsep.cli.commands import COMMANDS
from espnet2_avsep.cli.options import option, with_options
from espnet2_avsep.cli.shared_options import QuietLog

_SCRIPT = """\
_avsep() {{
    local words= current=${{COMP_WORDS[COMP_CWORD]}}
    local before=${{COMP_WORDS[COMP_CWORD-1]}}
    if [ "${{COMP_CWORD}}" -eq 1 ]; then
        words={commands}
    else
        case "${{COMP_WORDS[1]}} ${{before}}" in
{values}
            *)
                case "${{COMP_WORDS[1]}} ${{current}}" in
{options}
                esac
                ;;
        esac
    fi
    COMPREPLY=()
    # Without a match, names of files are completed.
    while IFS= read -r word; do
        COMPREPLY+=("${{word}}")
    done < <([ -z "${{words}}" ] || compgen -W "${{words}}" -- "${{current}}")
}}
complete -o default -F _avsep avsep
"""
_ZSH = (
    "autoload -U +X compinit && compinit\nautoload -U +X bashcompinit && bashcompinit\n"
)


@dataclass(kw_only=True)
class Options(QuietLog):
    """The options of the command."""

    shell: str = option(
        ..., "for which shell", choices=("bash", "zsh"), positional=True
    )


@with_options(Options)
def main(args: Options) -> None:
    """Run the command."""
    parsers = {}
    for name, command in COMMANDS.items():
        module = importlib.import_module(f"espnet2_avsep.{command.module}")
        if hasattr(module.main, "get_parser"):
            parsers[name] = module.main.get_parser()
    print((_ZSH if args.shell == "zsh" else "") + script(parsers), end="")


def script(parsers: Dict[str, argparse.ArgumentParser]) -> str:
    """Return the script for bash; bashcompinit makes zsh understand it.

    Args:
        parsers: Of the commands.
    """
    values: List[str] = []
    options: List[str] = []
    for command, sub in parsers.items():
        names = []
        for action in sub._actions:
            names += [name for name in action.option_strings if name.startswith("--")]
            choices = ("true", "false") if action.type is str2bool else action.choices
            if choices and action.option_strings:
                pattern = f'"{command} {action.option_strings[-1]}"'
                values.append(_case(12, pattern, choices))
            elif action.choices:
                names += action.choices
        positional = any(a.choices and not a.option_strings for a in sub._actions)
        # Elsewhere a word that is no option is a file.
        options.append(_case(16, f'"{command} {"" if positional else "-"}"*', names))
    commands = shlex.quote(" ".join([*COMMANDS, "--help", "--version"]))
    return _SCRIPT.format(
        commands=commands, values="\n".join(values), options="\n".join(options)
    )


def _case(indent: int, pattern: str, words: List[str]) -> str:
    return f"{' ' * indent}{pattern}) words={shlex.quote(' '.join(map(str, words)))} ;;"
