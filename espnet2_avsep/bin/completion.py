"""Print a script that makes bash or zsh complete the words of this command.

bash: add the line  eval "$(avsep completion bash)"  to ~/.bashrc; zsh: the same with
"zsh" in ~/.zshrc.
"""

import argparse
import shlex
from typing import List

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


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the sub-command."""
    parser.add_argument("shell", choices=("bash", "zsh"), help="for which shell")


def run(args: argparse.Namespace) -> int:
    """Run the sub-command."""
    from espnet2_avsep.bin.avsep import get_parser

    print((_ZSH if args.shell == "zsh" else "") + script(get_parser()), end="")
    return 0


def script(parser: argparse.ArgumentParser) -> str:
    """Return the script for bash; bashcompinit makes zsh understand it.

    Args:
        parser: Of the whole command, with sub-commands.
    """
    (parsers,) = (
        action.choices
        for action in parser._actions
        if isinstance(action, argparse._SubParsersAction)
    )
    values: List[str] = []
    options: List[str] = []
    for command, sub in parsers.items():
        names = []
        for action in sub._actions:
            names += [name for name in action.option_strings if name.startswith("--")]
            if action.choices and action.option_strings:
                pattern = f'"{command} {action.option_strings[-1]}"'
                values.append(_case(12, pattern, action.choices))
            elif action.choices:
                names += action.choices
        positional = any(a.choices and not a.option_strings for a in sub._actions)
        # Elsewhere a word that is no option is a file.
        options.append(_case(16, f'"{command} {"" if positional else "-"}"*', names))
    commands = shlex.quote(" ".join([*parsers, "--help", "--version"]))
    return _SCRIPT.format(
        commands=commands, values="\n".join(values), options="\n".join(options)
    )


def _case(indent: int, pattern: str, words: List[str]) -> str:
    return f"{' ' * indent}{pattern}) words={shlex.quote(' '.join(map(str, words)))} ;;"
