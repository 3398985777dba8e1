"""``%vision SUBCOMMAND``: what there is, what is used, what was said, and what it cost."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from vision_nb.errors import SettingsError
from vision_nb.magics.conversations import THE_NOTEBOOKS
from vision_nb.magics.models import resolve
from vision_nb.magics.options import split
from vision_nb.magics.reference import Reference, public_names, reference
from vision_nb.magics.table import Table
from vision_nb.magics.usage_errors import UsageError, nearest, unknown
from vision_nb.providers.catalog import DEMO, KEY_VARIABLES, has_key, known_models
from vision_nb.rendering.format import format_count

if TYPE_CHECKING:
    from vision_nb.magics.magic import VisionMagics

_QUESTION = "The question is the cell's body. `{{expression}}` in it inserts a value, and `\\{{` sends two braces."
_MORE = "`%vision help NAME` explains one of these, or a name of the package: `%vision help ChatPanel`."
_PRICED = (1_000_000, 1_000_000)  # tokens in and out


def run(magics: VisionMagics, line: str) -> Any:
    """Run one subcommand; what it gives is the cell's value.

    Raises:
        UsageError: There is no such subcommand, or it is told too little or too much.
    """
    name, *words = split(line) or ["help"]
    if name not in SUBCOMMANDS:
        if nearest(name, SUBCOMMANDS) is None and (words or name.startswith("-")):
            raise UsageError("%vision runs subcommands (%vision help): to ask, begin the cell with %%vision.")
        raise unknown("subcommand", name, SUBCOMMANDS)
    function, usage = SUBCOMMANDS[name]
    expected = usage.split()
    if not sum(not word.startswith("[") for word in expected) <= len(words) <= len(expected):
        raise UsageError(f"Write %vision {name} {usage}".rstrip() + ".")
    return function(magics, *words)


def _list(magics: VisionMagics) -> Table:
    """Shows the models that are known, whether their keys are set, and their prices."""
    rows = []
    for name in known_models():
        provider, _, model = name.partition(":")
        found = has_key(provider)
        key = "needs none" if found is None else f"{KEY_VARIABLES[provider]} {'is set' if found else 'is not set'}"
        rows.append((name, key, _price_of(provider, model)))
    key = "is set" if has_key("azure") else "is not set"
    rows.append(("azure:DEPLOYMENT", f"{KEY_VARIABLES['azure']} {key}", "as the model's"))
    remarks = [f"Used where a cell names none: **{magics.model or DEMO}**. Any other name of a provider's works too."]
    if magics.aliases:
        remarks.append("Aliases: " + ", ".join(f"{name} = {model}" for name, model in magics.aliases.items()) + ".")
    return Table(("model", "key", "US dollars for a million tokens in / out"), rows, remarks)


def _price_of(provider: str, model: str) -> str:
    from vision_nb.cost.prices import price
    from vision_nb.responses import Usage

    if provider == DEMO:
        return "free"
    each = [price(Usage(*tokens), provider=provider, model=model) for tokens in ((_PRICED[0], 0), (0, _PRICED[1]))]
    return "unknown" if None in each else " / ".join(f"{amount.normalize():f}" for amount in each if amount is not None)


def _use(magics: VisionMagics, name: str) -> None:
    """Names the model that is asked where a cell names none."""
    full = resolve(name, magics.aliases)
    magics.model = name
    _say(f"%%vision asks {full} from now on, where a cell names no model.")


def _alias(magics: VisionMagics, name: str, model: str) -> None:
    """Gives a model a short name."""
    if ":" in name or name in KEY_VARIABLES:
        raise UsageError(f"{name!r} cannot be an alias, as it is a model's name itself: choose another.")
    aliases = {**magics.aliases, name: model}
    full = resolve(name, aliases)
    magics.aliases = aliases
    _say(f"{name} is {full} from now on.")


def _dealias(magics: VisionMagics, name: str) -> None:
    """Takes a short name away."""
    if name not in magics.aliases:
        raise unknown("alias", name, magics.aliases)
    magics.aliases = {one: model for one, model in magics.aliases.items() if one != name}
    _say(f"{name} is no alias any more.")


def _chat(magics: VisionMagics, action: str | None = None, *words: str) -> Any:
    """Lists the conversations of -c; shows, forgets or writes down one of them."""
    actions = {"show": _chat_show, "reset": _chat_reset, "export": _chat_export}
    if action is None:
        rows = [
            (name, str(one.chat.llm), str(len(one.chat)), format_count(one.chat.usage.total_tokens))
            for name, one in magics.conversations.items()
        ]
        return Table(("conversation", "model", "turns", "tokens"), rows, [] if rows else ["Nothing has been said yet."])
    if action not in actions:
        raise unknown("action of %vision chat", action, actions)
    return actions[action](magics, *words)


def _chat_show(magics: VisionMagics, name: str | None = None, *_: str) -> Any:
    return magics.conversations.named(name).chat


def _chat_reset(magics: VisionMagics, name: str | None = None, *_: str) -> None:
    magics.conversations.named(name)
    del magics.conversations[name or THE_NOTEBOOKS]
    _say(f"The conversation {name or THE_NOTEBOOKS!r} is forgotten.")


def _chat_export(magics: VisionMagics, *words: str) -> None:
    if not words:
        raise UsageError("Write %vision chat export [NAME] FILE.md, or .html, .ipynb or .json.")
    *name, path = words
    chat = magics.conversations.named(name[0] if name else None).chat
    try:
        chat.export(path)
    except SettingsError as error:
        raise UsageError(str(error)) from error
    _say(f"{len(chat)} turns are in {path}.")


def _cost(magics: VisionMagics, action: str | None = None) -> Any:
    """Shows what was spent, by model; reset begins anew."""
    from vision_nb.cost.ledger import ledger

    if action is None:
        return ledger
    if action != "reset":
        raise unknown("action of %vision cost", action, ("reset",))
    ledger.reset()
    _say("The ledger begins anew.")
    return None


def _cache(magics: VisionMagics, action: str | None = None) -> Any:
    """Says how many answers are stored; clear forgets them, path says where they are."""
    store = magics.open_store()
    count = store.count()
    answers = "1 answer" if count == 1 else f"{count:,} answers"
    if action is None:
        size = store.path.stat().st_size
        shown = f"{size / 1e6:,.1f} MB" if size >= 1_000_000 else f"{size / 1000:,.0f} kB"
        return Table(remarks=[f"The store has {answers}, {shown}. `%vision cache path` says where it is."])
    if action == "path":
        _say(str(store.path))
        return None
    if action != "clear":
        raise unknown("action of %vision cache", action, ("clear", "path"))
    store.clear()
    _say(f"{answers} forgotten; scores stay.")
    return None


def _fix(magics: VisionMagics, *words: str) -> Any:
    """Asks a model about the last error, and shows first what it would send."""
    from vision_nb.magics.fix import fix

    return fix(magics, words)


def _help(magics: VisionMagics, name: str | None = None) -> Table | Reference:
    """Explains an option, a subcommand or a public name such as ChatPanel; without a name, lists the options."""
    from vision_nb.magics.options import OPTIONS

    options = {_spelled(option): (option.args, option.kwds["help"]) for option in OPTIONS}
    commands = {f"%vision {name} {usage}".strip(): (name, told) for name, (told, usage) in _explained().items()}
    if name is None:
        rows = [(spelled, told) for spelled, (_, told) in [*options.items(), *commands.items()]]
        return Table(("written", "meaning"), rows, [_QUESTION, _MORE])
    if (found := reference(name)) is not None:
        return found
    plain = name.lstrip("-%")
    rows = [(spelled, told) for spelled, (args, told) in options.items() if plain in [one.strip("-") for one in args]]
    rows += [(spelled, told) for spelled, (command, told) in commands.items() if plain == command]
    if rows:
        return Table(("written", "meaning"), rows)
    words = [one.strip("-") for args, _ in options.values() for one in args]
    raise unknown("option, subcommand or name", name, [*words, *SUBCOMMANDS, *public_names()])


def _explained() -> dict[str, tuple[str, str]]:
    """What each subcommand does, and what follows its name."""
    return {
        name: ((function.__doc__ or "").partition("\n")[0], usage) for name, (function, usage) in SUBCOMMANDS.items()
    }


def _spelled(option: Any) -> str:
    """An option as it is written on the line, with what follows it."""
    if not option.args[0].startswith("-"):
        return "[MODEL] [NAME <<]"
    spelled = ", ".join(option.args)
    takes_value = "action" not in option.kwds or option.kwds["action"] == "append"
    return f"{spelled} {option.kwds.get('metavar') or option.args[-1].strip('-').upper()}" if takes_value else spelled


def _version(magics: VisionMagics) -> Table:
    """Says which vision_nb this is."""
    from importlib.metadata import version

    return Table(remarks=[f"vision_nb {version('vision-nb')}"])


def _say(text: str) -> None:
    print(text)  # noqa: T201 - what a magic says to its user


SUBCOMMANDS: dict[str, tuple[Callable[..., Any], str]] = {
    "list": (_list, ""),
    "use": (_use, "MODEL"),
    "alias": (_alias, "NAME MODEL"),
    "dealias": (_dealias, "NAME"),
    "chat": (_chat, "[show|reset|export] [NAME] [FILE]"),
    "cost": (_cost, "[reset]"),
    "cache": (_cache, "[clear|path]"),
    "fix": (_fix, "[MODEL] [--yes]"),
    "help": (_help, "[NAME]"),
    "version": (_version, ""),
}
"""Every subcommand, and what follows its name: NEEDED [OPTIONAL]."""
