"""The files for LocalAI and LiteLLM: the walkthrough's values, valid YAML, and all of them or none."""

import stat

import pytest
import yaml

import vision_nb as vn
from vision_nb import errors
from vision_nb.providers.local import localai_config

DEFINITION = {
    "backend": "llama-cpp",
    "context_size": 4096,
    "f16": True,
    "threads": 11,
    "gpu_layers": 90,
    "mmap": True,
    "name": "llava",
    "roles": {"user": "USER:", "assistant": "ASSISTANT:", "system": "SYSTEM:"},
    "parameters": {"model": "ggml-model-q4_k.gguf", "temperature": 0.2, "top_k": 40, "top_p": 0.95},
    "template": {"chat": "llava"},
    "mmproj": "mmproj-model-f16.gguf",
}


def read(path):
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_defaults_are_the_walkthroughs(tmp_path):
    files = vn.write_localai_config(tmp_path)
    assert files.definition == tmp_path / "models" / "llava.yaml" and read(files.definition) == DEFINITION
    assert list(read(files.definition)) == list(DEFINITION)
    assert files.template == tmp_path / "models" / "llava.tmpl"
    lines = files.template.read_text().splitlines()
    assert lines[0].startswith("A chat between a curious human") and lines[1:] == ["{{.Input}}", "ASSISTANT:"]
    (entry,) = read(files.litellm)["model_list"]
    assert entry["model_name"] == "llava"
    assert entry["litellm_params"] == {
        "model": "openai/llava",
        "api_base": "http://localhost:8080/v1",
        "api_key": "None",
    }
    assert files.api_base == "http://localhost:28000/v1"


def test_the_compose_file_mounts_what_was_written_and_opens_one_port_to_this_machine(tmp_path):
    files = vn.write_localai_config(tmp_path, port=28123)
    services = read(files.compose)["services"]
    for service in services.values():
        for volume in service["volumes"]:
            assert (tmp_path / volume.partition(":")[0]).exists()
    assert services["localai"]["ports"] == ["127.0.0.1:28123:4000"] and "ports" not in services["litellm"]
    assert services["litellm"]["network_mode"] == "service:localai"  # so that localhost:8080 is LocalAI there
    assert services["localai"]["environment"]["MODELS_PATH"] == "/models"
    assert "/app/litellm.yaml" in services["litellm"]["command"]


def test_arguments_reach_their_files(tmp_path):
    files = vn.write_localai_config(
        tmp_path,
        name="my-llava_1.5",
        model="a.gguf",
        mmproj="b.gguf",
        context_size=2048,
        f16=False,
        threads=4,
        gpu_layers=0,
        mmap=False,
        temperature=0,
        top_k=1,
        top_p=1,
        system_prompt='日本語で "yes: no" #と答えてください。',
        api_base="http://127.0.0.1:9/v1",
    )
    definition = read(files.definition)
    assert definition["parameters"] == {"model": "a.gguf", "temperature": 0, "top_k": 1, "top_p": 1}
    assert (definition["name"], definition["template"]) == ("my-llava_1.5", {"chat": "my-llava_1.5"})
    assert (definition["f16"], definition["mmap"], definition["gpu_layers"]) == (False, False, 0)
    assert files.template.read_text(encoding="utf-8").startswith('日本語で "yes: no" #と答えてください。\n')
    assert read(files.litellm)["model_list"][0]["litellm_params"]["api_base"] == "http://127.0.0.1:9/v1"


@pytest.mark.parametrize("name", ["no", "1e3", "0x1F", "123", "null"])
def test_names_that_yaml_could_take_for_something_else_stay_names(tmp_path, name):
    files = vn.write_localai_config(tmp_path, name=name)
    assert read(files.definition)["name"] == name
    assert read(files.litellm)["model_list"][0]["model_name"] == name


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "../llava"},
        {"name": ""},
        {"name": ".hidden"},
        {"name": "a\nb: c"},
        {"model": "/etc/passwd"},
        {"mmproj": "sub/mmproj.gguf"},
        {"context_size": 0},
        {"context_size": "4096"},
        {"threads": True},
        {"gpu_layers": -1},
        {"temperature": -0.1},
        {"top_k": 0},
        {"top_p": 0},
        {"top_p": 1.5},
        {"port": 70_000},
        {"gpu_layers": "90"},
        {"temperature": float("nan")},
        {"temperature": float("inf")},
        {"temperature": "0.2"},
        {"top_p": float("nan")},
        {"f16": "no"},
        {"mmap": "false"},
        {"overwrite": "no"},
        {"localai_image": ""},
        {"litellm_image": "litellm:$TAG"},
        {"name": 3},
        {"system_prompt": None},
        {"system_prompt": "{{.Secret}}"},
    ],
    ids=repr,
)
def test_wrong_arguments_write_nothing(tmp_path, wrong):
    with pytest.raises(errors.SettingsError):
        vn.write_localai_config(tmp_path / "new", **wrong)
    assert not (tmp_path / "new").exists()


def test_what_is_there_is_replaced_only_when_asked_for(tmp_path):
    (tmp_path / "litellm.yaml").write_text("mine")
    with pytest.raises(errors.SettingsError, match=r"litellm.yaml in .* would be replaced: say overwrite=True"):
        vn.write_localai_config(tmp_path)
    assert contents(tmp_path) == {"litellm.yaml": b"mine"}
    files = vn.write_localai_config(tmp_path, overwrite=True)
    assert read(files.litellm)["model_list"]
    vn.write_localai_config(tmp_path, threads=3, overwrite=True)
    assert read(files.definition)["threads"] == 3


def test_a_link_to_nothing_is_not_replaced_either(tmp_path):
    (tmp_path / "litellm.yaml").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(errors.SettingsError, match="would be replaced"):
        vn.write_localai_config(tmp_path)
    assert (tmp_path / "litellm.yaml").is_symlink()


@pytest.mark.parametrize("broken", range(4))
def test_a_failure_in_the_middle_puts_everything_back(tmp_path, monkeypatch, broken):
    vn.write_localai_config(tmp_path, threads=3)
    (tmp_path / "models" / "llava.tmpl").unlink()  # one is new, three are replaced
    before = contents(tmp_path)
    replace, count = localai_config.Path.replace, 0

    def fails(self, target):
        nonlocal count
        count += 1
        if count == broken + 1:
            raise OSError(28, "No space left on device", str(target))
        return replace(self, target)

    monkeypatch.setattr(localai_config.Path, "replace", fails)
    with pytest.raises(errors.SettingsError, match=r"No space left on device.*no file was changed"):
        vn.write_localai_config(tmp_path, threads=4, overwrite=True)
    assert contents(tmp_path) == before


def test_a_folder_that_is_a_file_is_an_error_of_ours(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(errors.SettingsError, match="cannot be written"):
        vn.write_localai_config(tmp_path / "file")


def test_containers_may_read_the_files_and_nothing_else_is_left(tmp_path):
    files = vn.write_localai_config(tmp_path)
    assert all(path.stat().st_mode & stat.S_IROTH for path in files.paths)
    assert len(contents(tmp_path)) == 4


def test_the_files_show_themselves(tmp_path):
    html = vn.write_localai_config(tmp_path, system_prompt="a <b> c")._repr_html_()
    files = vn.write_localai_config(tmp_path / "other")
    files.compose.unlink()
    assert "cannot be read any more: No such file" in files._repr_html_() and "litellm_params" in files._repr_html_()
    assert "models/llava.yaml" in html and "a &lt;b&gt; c" in html and str(tmp_path) not in html
