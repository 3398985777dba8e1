"""Every public name is documented with its arguments, its errors and an example that runs."""

import doctest
import importlib
import inspect
import pkgutil
import re
import textwrap

import pytest

import vision_nb as vn
from tests.conftest import picture

PACKAGE = [module.name for module in pkgutil.walk_packages(vn.__path__, "vision_nb.")]
MODULES = ["vision_nb", *sorted(name for name in PACKAGE if not name.endswith("__main__"))]
REFERENCE = re.compile(r"(?:[Aa]s(?: for)?|version of) `(?:\w+\.)?(\w+)`")
DOCUMENTED_IN = {  # names that are neither a class nor a function
    "REPLICATE_MULTI_MODAL_LLM_MODELS": "vision_nb.providers.replicate.catalog",
}


def documentation(name):
    """The docstring of a public name, or of the module that documents it."""
    value = importlib.import_module(DOCUMENTED_IN[name]) if name in DOCUMENTED_IN else getattr(vn, name)
    return inspect.getdoc(value) or ""


def section(doc, *titles):
    """The text of a docstring's sections with these titles."""
    found = re.findall(rf"^(?:{'|'.join(titles)}):\n((?:[ ].*\n?|\n)+)", doc + "\n", re.MULTILINE)
    return "".join(found)


def undocumented(function, docs):
    """The parameters of a function that are in none of the docstrings."""
    sections = "".join(section(doc, "Args", "Attributes") for doc in docs)
    names = [name for name in inspect.signature(function).parameters if name not in ("self", "cls")]
    return [name for name in names if not re.search(rf"^ +\*{{0,2}}{name}:", sections, re.MULTILINE)]


def raises_directly(function):
    source = textwrap.dedent(inspect.getsource(function))
    return bool(re.search(r"^\s+raise \w+Error\(", source, re.MULTILINE))


def methods():
    """Each public method of a public class, once."""
    found = {}
    for name in vn.__all__:
        kind = getattr(vn, name)
        for owner in kind.__mro__ if inspect.isclass(kind) else ():
            if owner.__module__.startswith("vision_nb"):
                for method, value in vars(owner).items():
                    function = value.__func__ if isinstance(value, (classmethod, staticmethod)) else value
                    if not method.startswith("_") and inspect.isfunction(function):
                        found[f"{owner.__name__}.{method}"] = function
    return found


METHODS = methods()


@pytest.fixture
def demo_as_every_provider(server, monkeypatch, tmp_path):
    """The examples use the real services' names; here the demo server answers for all of them."""
    for name, value in {
        "OPENAI_API_KEY": "demo",
        "OPENAI_BASE_URL": server.openai_base,
        "AZURE_OPENAI_API_KEY": "demo",
        "AZURE_OPENAI_ENDPOINT": server.url,
        "OPENAI_API_VERSION": "2024-10-21",
        "REPLICATE_API_TOKEN": "demo",
        "REPLICATE_BASE_URL": server.replicate_base,
    }.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "photos").mkdir()
    for number in (1, 2):
        picture(seed=number).save(tmp_path / "photos" / f"{number}.jpg")
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", MODULES)
def test_every_example_prints_what_its_docstring_shows(name, demo_as_every_provider, capsys):
    module = importlib.import_module(name)
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    failed, _ = doctest.testmod(module, extraglobs={"vn": vn}, optionflags=flags)
    assert failed == 0, capsys.readouterr().out


@pytest.mark.parametrize("name", vn.__all__)
def test_the_examples_of_a_public_name_work_when_they_are_pasted(name, demo_as_every_provider, capsys):
    value = getattr(vn, name)
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    runner = doctest.DocTestRunner(optionflags=flags)
    for example in doctest.DocTestFinder().find(value, name, globs={"vn": vn}):
        runner.run(example)
    assert runner.failures == 0, capsys.readouterr().out


def test_a_wrong_example_is_detected(capsys):
    example = doctest.DocTestParser().get_doctest(">>> 1 + 1\n3\n", {}, "wrong", None, 0)
    assert doctest.DocTestRunner().run(example).failed == 1


@pytest.mark.parametrize("name", vn.__all__)
def test_every_public_name_has_an_example(name):
    assert ">>> " in documentation(name)


@pytest.mark.parametrize("name", vn.__all__)
def test_every_public_name_documents_its_arguments_and_errors(name):
    value = getattr(vn, name)
    if inspect.isclass(value) and not hasattr(value, "__members__"):
        owners = [owner for owner in value.__mro__ if owner.__module__.startswith("vision_nb")]
        assert undocumented(value, [inspect.cleandoc(owner.__doc__ or "") for owner in owners]) == []
        initializers = [
            inspect.unwrap(value.__dict__[init]) for init in ("__init__", "__post_init__") if init in value.__dict__
        ]
        written_here = [init for init in initializers if init.__code__.co_filename.endswith(".py")]  # not by @dataclass
        assert "Raises:" in documentation(name) or not any(map(raises_directly, written_here))
    elif inspect.isfunction(value):
        docs = [documentation(name), *(documentation(other) for other in REFERENCE.findall(documentation(name)))]
        assert undocumented(value, docs) == []
        assert "Raises:" in docs[0] or not raises_directly(value)


@pytest.mark.parametrize("name", METHODS)
def test_every_public_method_documents_its_arguments_and_errors(name):
    """Either itself, or by reference to another method, as the asynchronous twins do."""
    function = METHODS[name]
    doc = inspect.getdoc(function)
    assert doc, f"{name} has no docstring"
    docs = [doc]
    for _ in range(2):  # a twin may refer to a method that refers to another
        referred = [METHODS[other] for other in METHODS if other.partition(".")[2] in REFERENCE.findall("".join(docs))]
        docs += [inspect.getdoc(other) for other in referred]
    assert undocumented(function, docs) == []
    assert any("Raises:" in one for one in docs) or not raises_directly(function)


def test_a_docstring_that_lacks_an_argument_is_detected():
    def half(one, other):
        """Do it.

        Args:
            one: The first.
        """

    assert undocumented(half, [inspect.getdoc(half)]) == ["other"]
