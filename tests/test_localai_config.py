"""Configuration files for LocalAI and LiteLLM: the walkthrough's values, valid YAML, written all or not at all."""

import pytest
import yaml

import vision_nb as vn
from vision_nb import errors

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


def test_the_compose_file_mounts_the_files_and_publishes_one_port_on_this_machine(tmp_path):
    files = vn.write_localai_config(tmp_path, port=28123)
    services = read(files.compose)["services"]
    for service in services.values():
        for volume in service["volumes"]:
            assert (tmp_path / volume.partition(":")[0]).exists()
    assert services["localai"]["ports"] == ["127.0.0.1:28123:4000"] and "ports" not in services["litellm"]
    assert services["litellm"]["network_mode"] == "service:localai"  # so that localhost:8080 is LocalAI there
    assert services["localai"]["environment"]["MODELS_PATH"] == "/models"
    assert "/app/litellm.yaml" in services["litellm"]["command"]


def test_arguments_are_written_to_their_files(tmp_path):
    files = vn.write_localai_config(
        tmp_path,
        name="my-llava_1.5",
        model="a.gguf",
        mmproj="b.gguf",
        context_size=2048,
        threads=4,
        gpu_layers=0,
        api_base="http://127.0.0.1:9/v1",
    )
    definition = read(files.definition)
    assert (definition["parameters"]["model"], definition["mmproj"]) == ("a.gguf", "b.gguf")
    assert (definition["name"], definition["template"]) == ("my-llava_1.5", {"chat": "my-llava_1.5"})
    assert [definition[key] for key in ("context_size", "threads", "gpu_layers")] == [2048, 4, 0]
    assert read(files.litellm)["model_list"][0]["litellm_params"]["api_base"] == "http://127.0.0.1:9/v1"


@pytest.mark.parametrize("name", ["no", "1e3", "0x1F", "123", "null"])
def test_names_that_yaml_could_read_as_other_types_stay_text(tmp_path, name):
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
        {"gpu_layers": "90"},
        {"port": 0},
        {"port": 70_000},
        {"api_base": "localhost:8080"},
        {"api_base": 'http://x/"'},
        {"api_base": "http://$HOST/v1"},
        {"name": 3},
    ],
    ids=repr,
)
def test_invalid_arguments_write_nothing(tmp_path, wrong):
    with pytest.raises(errors.SettingsError):
        vn.write_localai_config(tmp_path / "new", **wrong)
    assert not (tmp_path / "new").exists()


def test_existing_files_are_replaced_only_with_overwrite(tmp_path):
    (tmp_path / "litellm.yaml").write_text("mine")
    with pytest.raises(errors.SettingsError, match=r"already has litellm.yaml: pass overwrite=True"):
        vn.write_localai_config(tmp_path)
    assert contents(tmp_path) == {"litellm.yaml": b"mine"}
    files = vn.write_localai_config(tmp_path, overwrite=True)
    assert read(files.litellm)["model_list"]
    vn.write_localai_config(tmp_path, threads=3, overwrite=True)
    assert read(files.definition)["threads"] == 3


@pytest.mark.posix
def test_a_broken_link_is_not_replaced_either(tmp_path):
    (tmp_path / "litellm.yaml").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(errors.SettingsError, match="already has"):
        vn.write_localai_config(tmp_path)
    assert (tmp_path / "litellm.yaml").is_symlink()


@pytest.mark.parametrize("number", range(4))
def test_if_one_file_cannot_be_written_the_others_are_restored(tmp_path, number):
    files = vn.write_localai_config(tmp_path, threads=3)
    blocked = files.paths[number]
    blocked.unlink()
    blocked.mkdir()  # a folder in place of the file
    files.paths[number - 1].unlink()  # this one is new
    before = contents(tmp_path)
    with pytest.raises(errors.SettingsError, match=rf"{blocked.name} cannot be written .*no file was changed"):
        vn.write_localai_config(tmp_path, threads=4, overwrite=True)
    assert contents(tmp_path) == before


def test_a_file_in_place_of_the_folder_is_a_settings_error(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(errors.SettingsError, match="cannot be written"):
        vn.write_localai_config(tmp_path / "file")


def test_the_files_are_displayed(tmp_path):
    files = vn.write_localai_config(tmp_path)
    files.template.write_text("a <b> c")
    files.compose.unlink()
    html = files._repr_html_()
    assert "models/llava.yaml" in html and "litellm_params" in html and str(tmp_path) not in html
    assert "a &lt;b&gt; c" in html and "cannot be read: No such file" in html
