"""The subcommands of ``%vision``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vision_nb.checks.spelling import closest
from vision_nb.cost.accounting import ModelPricing
from vision_nb.cost.ledger import ledger
from vision_nb.cost.model_reference import ModelReference, misspelling, parse_model_name
from vision_nb.errors import SettingsError
from vision_nb.magics.batches import batch
from vision_nb.magics.conversations import DEFAULT_NAME
from vision_nb.magics.downloads import download, names_to_download, remarks_on_small_models
from vision_nb.magics.fix import fix
from vision_nb.magics.help import Reference, public_names, reference
from vision_nb.magics.models import resolve
from vision_nb.magics.options import OPTIONS, split
from vision_nb.magics.session import Session
from vision_nb.magics.table import Table
from vision_nb.magics.usage_errors import UsageError, truncate, unknown
from vision_nb.providers.catalog import has_key, key_variables, known_models
from vision_nb.providers.default_model import mark_announced
from vision_nb.rendering.format import format_bytes, format_count, pluralize
from vision_nb.responses import Usage

_QUESTION_HELP = "Write the question in the cell's body. `{{expression}}` inserts a value; `\\{{` sends two braces."
_TO_ASK = "To ask a question, write %%vision MODEL -i IMAGE on the first line of a cell, and the question below it."
_HINTS = {
    "models": "%vision list shows the models that are ready, and %vision use MODEL sets the default.",
    "budget": "vn.ledger.budget = 0.50 limits what calls cost, and %vision cost shows what was spent.",
    "price": "%%vision --dry-run shows the price of a question, and %vision list those of the models.",
    "ask": _TO_ASK,
}
"""What to do instead of subcommands that do not exist."""

_MORE_HELP = (
    "`%vision help NAME` explains an option, a subcommand or a public name of the package, as in "
    "`%vision help ChatPanel`."
)


def run_subcommand(session: Session, line: str) -> Any:
    """Run the subcommand on a line and return its value.

    Args:
        session: The session.
        line: The words after ``%vision``; ``help`` if there are none.

    Raises:
        UsageError: The subcommand does not exist, or its arguments are invalid.
    """
    name, *words = split(line) or ["help"]
    if name not in SUBCOMMANDS:
        similar = closest(name, SUBCOMMANDS)
        hint = closest(name, _HINTS) if similar is None or name in _HINTS else None
        if hint is not None:
            raise UsageError(f"There is no subcommand {truncate(name)!r}. {_HINTS[hint]}")
        is_question = similar is None and (words or name.startswith("-") or _is_model(session, name))
        if is_question or line.endswith("?"):
            raise UsageError(f"%vision runs subcommands, which %vision help lists. {_TO_ASK}")
        raise unknown("subcommand", name, SUBCOMMANDS)
    function, usage = SUBCOMMANDS[name]
    parameters = usage.split()
    if not sum(not one.startswith("[") for one in parameters) <= len(words) <= len(parameters):
        raise UsageError(f"Usage: %vision {name} {usage}".rstrip() + ".")
    return function(session, *words)


def _is_model(session: Session, name: str) -> bool:
    try:
        resolve(name, session.settings.aliases)
    except UsageError:
        return False
    return True


def _list(session: Session) -> Table:
    """List the known models, whether their API keys are set, and their prices."""
    names = [*known_models(), "azure:DEPLOYMENT"]
    listed = {name.partition(":")[0] for name in names}
    variables = key_variables()
    names += [f"{provider}:MODEL" for provider in variables if provider not in listed]
    absent = names_to_download()
    ready = [name for name in names if has_key(name.partition(":")[0]) is not False and name not in absent]
    rows = []
    for name in sorted(ready, key=lambda name: has_key(name.partition(":")[0]) is None):  # those with a key first
        provider, _, model = name.partition(":")
        key = f"{variables[provider]} is set" if has_key(provider) else "not needed"
        rows.append((name, key, "same as its model" if model == "DEPLOYMENT" else _prices(provider, model)))
    default = session.default_model()
    remarks = [f"Default model: **{default.name}** ({default.reason}). Other models of these providers work too."]
    others = [f"{provider} ({variable})" for provider, variable in variables.items() if has_key(provider) is False]
    remarks += remarks_on_small_models()
    if others:
        remarks.append(f"Not ready, because the API key is not set: {', '.join(others)}.")
    if session.settings.aliases:
        remarks.append("Aliases: " + ", ".join(f"{one} = {model}" for one, model in session.settings.aliases.items()))
    return Table(("model", "API key", "USD per million tokens, input / output"), rows, remarks)


def _prices(provider: str, model: str) -> str:
    price = ModelPricing(provider, model, ModelReference(provider, model).is_free)
    amounts = [price(usage) for usage in (Usage(1_000_000, 0), Usage(0, 1_000_000))]
    if not any(amounts) and None not in amounts:
        return "free"
    known = [f"{amount.normalize():f}" for amount in amounts if amount is not None]
    return " / ".join(known) if len(known) == len(amounts) else "unknown"


def _use(session: Session, name: str) -> None:
    """Set the default model for cells that do not name one."""
    full_name = resolve(name, session.settings.aliases)
    session.settings.model = name
    mark_announced(full_name)
    model = parse_model_name(full_name)
    is_priced = ModelPricing(model.provider, model.model, False)(Usage(1, 1)) is not None
    remark = "" if is_priced else misspelling(model.provider, model.model)
    _print(f"%%vision now asks {full_name} by default.{remark and f' {remark}.'}")


def _alias(session: Session, name: str, model: str) -> None:
    """Define a short name for a model."""
    if ":" in name or name in key_variables():
        raise UsageError(f"{name!r} cannot be an alias, because it is a model's name: choose another name.")
    aliases = {**session.settings.aliases, name: model}
    full_name = resolve(name, aliases)
    session.settings.aliases = aliases
    _print(f"{name} is now an alias for {full_name}.")


def _dealias(session: Session, name: str) -> None:
    """Remove an alias."""
    if name not in session.settings.aliases:
        raise unknown("alias", name, session.settings.aliases)
    session.settings.aliases = {one: model for one, model in session.settings.aliases.items() if one != name}
    _print(f"Removed the alias {name}.")


def _chat(session: Session, action: str | None = None, *words: str) -> Any:
    """List the conversations; show, delete (reset) or export one of them."""
    actions: dict[str, Callable[..., Any]] = {"show": _show_chat, "reset": _reset_chat, "export": _export_chat}
    if action is None:
        rows = [
            (name, str(one.chat.llm), str(len(one.chat)), format_count(one.chat.usage.total_tokens))
            for name, one in session.conversations.items()
        ]
        remarks = [] if rows else ["There is no conversation yet."]
        return Table(("conversation", "model", "turns", "tokens"), rows, remarks)
    if action not in actions:
        raise unknown("action of %vision chat", action, actions)
    if action != "export" and len(words) > 1:
        raise UsageError(f"Usage: %vision chat {action} [NAME].")
    return actions[action](session, *words)


def _show_chat(session: Session, name: str | None = None) -> Any:
    return session.conversations.find(name).chat


def _reset_chat(session: Session, name: str | None = None) -> None:
    session.conversations.find(name)
    del session.conversations[name or DEFAULT_NAME]
    _print(f"Deleted the conversation {name or DEFAULT_NAME!r}.")


def _export_chat(session: Session, *words: str) -> None:
    if not words:
        raise UsageError("Usage: %vision chat export [NAME] FILE, where FILE ends in .md, .html, .ipynb or .json.")
    *name, path = words
    chat = session.conversations.find(name[0] if name else None).chat
    try:
        chat.export(path)
    except SettingsError as error:
        raise UsageError(str(error)) from error
    _print(f"Exported {pluralize(len(chat), 'turn')} to {path}.")


def _cost(session: Session, action: str | None = None) -> Any:
    """Show each model's calls, tokens and costs; start again from zero (reset)."""
    if action is None:
        return ledger
    if action != "reset":
        raise unknown("action of %vision cost", action, ("reset",))
    ledger.reset()
    _print("The ledger is empty now.")
    return None


def _cache(session: Session, action: str | None = None) -> Any:
    """Show the size of the answer cache; delete its answers and conversations (clear); show its path."""
    store = session.store
    count = store.count()
    answers = pluralize(count, "answer")
    if action is None:
        size = format_bytes(store.path.stat().st_size)
        return Table(remarks=[f"The cache holds {answers}, {size}. `%vision cache path` shows its file."])
    if action == "path":
        _print(str(store.path))
        return None
    if action != "clear":
        raise unknown("action of %vision cache", action, ("clear", "path"))
    store.clear()
    _print(f"Deleted {answers} and the conversations of chat panels; scores are kept.")
    return None


def _help(session: Session, name: str | None = None) -> Table | Reference:
    """List the options and subcommands, or explain one of them or a public name."""
    options = {_option_usage(option): (option.args, option.kwds["help"]) for option in OPTIONS}
    commands = {
        f"%vision {command} {usage}".strip(): (command, (function.__doc__ or "").partition("\n")[0])
        for command, (function, usage) in SUBCOMMANDS.items()
    }
    head = ("usage", "description")
    if name is None:
        rows = [(usage, description) for usage, (_, description) in [*options.items(), *commands.items()]]
        return Table(head, rows, [_QUESTION_HELP, _MORE_HELP])
    found = reference(session.package, name)
    if found is not None:
        return found
    plain = name.lstrip("-%")
    rows = [(usage, text) for usage, (args, text) in options.items() if plain in [one.strip("-") for one in args]]
    rows += [(usage, text) for usage, (command, text) in commands.items() if plain == command]
    if rows:
        return Table(head, rows)
    if plain in _HINTS:
        raise UsageError(_HINTS[plain])
    option_words = [one.strip("-") for args, _ in options.values() for one in args]
    raise unknown(
        "option, subcommand or public name", name, [*option_words, *SUBCOMMANDS, *public_names(session.package)]
    )


def _option_usage(option: Any) -> str:
    """Return an option's usage, with its value."""
    if not option.args[0].startswith("-"):
        return "[MODEL] [NAME <<]"
    names = ", ".join(option.args)
    takes_value = "action" not in option.kwds or option.kwds["action"] == "append"
    return f"{names} {option.kwds.get('metavar') or option.args[-1].strip('-').upper()}" if takes_value else names


def _version(session: Session) -> Table:
    """Show the version of vision_nb."""
    return Table(remarks=[f"vision_nb {session.package.__version__}"])


def _print(text: str) -> None:
    print(text)  # noqa: T201 - the output of a magic


SUBCOMMANDS: dict[str, tuple[Callable[..., Any], str]] = {
    "list": (_list, ""),
    "use": (_use, "MODEL"),
    "download": (download, "NAME"),
    "alias": (_alias, "NAME MODEL"),
    "dealias": (_dealias, "NAME"),
    "chat": (_chat, "[show|reset|export] [NAME] [FILE]"),
    "cost": (_cost, "[reset]"),
    "cache": (_cache, "[clear|path]"),
    "batch": (batch, "[list]"),
    "fix": (fix, "[MODEL] [--yes]"),
    "help": (_help, "[NAME]"),
    "version": (_version, ""),
}
"""Each subcommand with its parameters, the optional ones in brackets."""
