"""Write the tables of README and the guide that repeat facts of the code.

A table stands between the comments ``<!-- table: NAME -->`` and ``<!-- end of table -->``.

Run: python -m tests.make_tables
"""

import re
from collections.abc import Iterable

from tests.save_notebooks import NOTEBOOKS
from vision_nb.cost.rule_kinds import Fixed
from vision_nb.cost.rule_table import RULES
from vision_nb.cost.small_models import SMALL_MODELS
from vision_nb.images.formats import SENDABLE
from vision_nb.providers.catalog import key_variables
from vision_nb.services.table import SERVICES

ROOT = NOTEBOOKS.parent
PAGES = [ROOT / "README.md", *sorted((NOTEBOOKS / "guide").glob("*.md"))]
PLACE = re.compile(r"(<!-- table: ([\w ]+) -->\n).*?(<!-- end of table -->)", re.DOTALL)
OTHERS = {  # provider: (example of a name, title)
    "azure": ("azure:YOUR-DEPLOYMENT", "Azure OpenAI"),
    "replicate": ("replicate:llava-13b", "Replicate"),
    "local": ("local:llava", "your own server: Ollama, LM Studio, vLLM, LocalAI, LiteLLM, llama.cpp"),
    "demo": ("demo", "the demo: measures pixels, no language model"),
}


def providers() -> Iterable[str]:
    """Yield a row for each provider, with a model and the variable of its API key."""
    yield "| Model, for example | Provider | Key |"
    yield "|---|---|---|"
    rows = {"openai": ("openai:gpt-4o", SERVICES["openai"].title)}
    rows |= {
        row.name: (f"{row.name}:{[*row.examples, 'OWNER/MODEL'][0]}", row.title) for row in SERVICES.values()
    } | rows
    variables = key_variables()
    for name, (example, title) in (rows | OTHERS).items():
        yield f"| `{example}` | {title} | {f'`{variables[name]}`' if variables[name] else 'none'} |"
    first, *_, last = SMALL_MODELS
    yield f"| `{first}` to `{last}` | a [small model](notebooks/guide/models.md#small-models) on your machine | none |"


def services() -> Iterable[str]:
    """Yield a row for each service, with what it accepts."""
    yield "| Service | Key | Images per request | Largest image | Image types | Enforces a schema | Downloads URLs |"
    yield "|---|---|---:|---:|---|---|---|"
    for row in SERVICES.values():
        if row.name == "openai":
            continue
        most = f"{row.max_images:,}" if row.max_images else "–"
        largest = f"{row.max_image_bytes / 1e6:.1f} MB" if row.max_image_bytes else "–"
        types = ", ".join(sorted(kind.partition("/")[2].upper() for kind in row.image_types & SENDABLE))
        schema = {None: "unknown", True: "yes", False: "no"}[row.takes_schema]
        urls = "yes" if row.takes_urls else "no"
        yield f"| `{row.name}` | `{row.key_variable}` | {most} | {largest} | {types} | {schema} | {urls} |"


def small_models() -> Iterable[str]:
    """Yield a row for each small model."""
    yield "| Name | Download | Memory | Languages | License |"
    yield "|---|---:|---:|---|---|"
    for row in SMALL_MODELS.values():
        size = f"{row.size / 1e9:.1f} GB" if row.size >= 1e9 else f"{row.size / 1e6:.0f} MB"
        name, bracket, rest = row.license.partition(" (")
        license_name = f"[{name}]({row.license_url}){bracket}{rest}" if row.license_url else row.license
        yield f"| `{row.name}` | {size} | {row.memory / 1e9:.1f} GB | {row.languages} | {license_name} |"


def image_tokens() -> Iterable[str]:
    """Yield a row for each rule that counts the tokens of an image."""
    yield "| Models | An image is | Estimate | Compared |"
    yield "|---|---|---|---|"
    openai = [row for row in RULES.values() if row.names is None and row.name != "demo"]
    for name in sorted({row.rule.name for row in openai}):
        own = [row for row in openai if row.rule.name == name]
        compared = ", ".join(row.name for row in own if row.checked)
        yield f"| {', '.join(row.name for row in own)} | {name}, by detail level | | the guide's examples: {compared} |"
    for row in RULES.values():
        if row.names is not None:
            above = row.estimate_above
            estimate = "" if above is None else f"above {above:,} px" if above else "always"
            yield f"| {row.name} | {described(row.rule)} | {estimate} | {row.checked or 'no'} |".replace("|  |", "| |")


def described(rule):
    """Return a rule and its limits in a few words."""
    facts = [rule.name]
    if isinstance(rule, Fixed):
        facts.append(f"{rule.tokens:,} tokens")
    if hasattr(rule, "tile") and not rule.has_levels:
        facts.append(f"{rule.tile} tokens each")
    facts += [f"side up to {rule.max_side:,} px"] if hasattr(rule, "max_side") else []
    facts += [f"at most {rule.max_patches:,}"] if getattr(rule, "max_patches", None) else []
    facts += ["one token per row"] if rule.breaks else []
    facts += ["one more tile for the whole image"] if rule.has_overview else []
    return ", ".join(facts)


TABLES = {
    "providers": providers,
    "services": services,
    "small models": small_models,
    "image tokens": image_tokens,
}


def with_tables(text):
    """Return a page with its tables as the code has them now."""
    return PLACE.sub(lambda found: found[1] + "".join(f"{row}\n" for row in TABLES[found[2]]()) + found[3], text)


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(with_tables(page.read_text(encoding="utf-8")), encoding="utf-8")
