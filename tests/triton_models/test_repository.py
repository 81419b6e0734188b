"""Model repositories on disk, without Triton."""

import json
import os
import shutil
import subprocess
import sys

import onnx
import pytest

from hrnet_deploy import ArtifactError, MissingFileError, Predictor, UsageError, export, write_triton_repository
from hrnet_deploy.artifact.card import CARD_KEY, SHA256_KEY, card_from_metadata
from hrnet_deploy.artifact.engine_sidecar import read_sidecar, sidecar_path
from hrnet_deploy.artifact.files import sha256_file
from hrnet_deploy.artifact.onnx_header import read_header
from hrnet_deploy.cli import export as export_command
from hrnet_deploy.triton.config_update import parameters_of, read_config
from hrnet_deploy.triton.repository import model_name


def tree(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def fp32(artifacts):
    return artifacts["fp32.onnx"]


def test_a_model_is_a_config_its_labels_and_a_version(fp32, tmp_path):
    model = write_triton_repository(fp32, tmp_path / "new" / "models")
    assert (model.name, model.version, model.images) == ("fp32", 1, None)
    assert model.path == tmp_path / "new" / "models" / "fp32"
    assert tree(model.path.parent) == ["fp32/1/model.onnx", "fp32/config.pbtxt", "fp32/labels.txt"]
    assert (model.path / "1/model.onnx").read_bytes() == fp32.read_bytes()
    parameters = parameters_of(read_config(model.path / "config.pbtxt"))
    assert card_from_metadata(parameters, "it") == card_from_metadata(read_header(fp32).metadata, "it")
    assert parameters[SHA256_KEY] == sha256_file(fp32)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["models"]  # no scratch is left


def test_files_have_the_usual_permissions(fp32, tmp_path):
    model = write_triton_repository(fp32, tmp_path / "models")
    (tmp_path / "plain").mkdir()
    for path in (model.path, model.path / "1"):
        assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_it_needs_neither_torch_nor_onnx_nor_protobuf_nor_a_runtime(fp32, tmp_path):
    program = (
        "import sys, hrnet_deploy\n"
        "hrnet_deploy.write_triton_repository(*sys.argv[1:], images=True)\n"
        "unwanted = {'torch', 'onnx', 'google.protobuf', 'onnxruntime', 'openvino', 'tritonclient'}\n"
        "sys.exit(' '.join(unwanted & set(sys.modules)) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, fp32, tmp_path / "models"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_version_beside_an_old_one_brings_its_card(artifacts, fp32, tmp_path):
    other = tmp_path / "other" / "fp32.onnx"
    export(fp32, precision="fp16", batch="1:4:8", output=other)
    write_triton_repository(fp32, tmp_path / "models")
    model = write_triton_repository(other, tmp_path / "models")
    assert model.version == 2
    assert (model.path / "1/model.onnx").read_bytes() == fp32.read_bytes()
    assert (model.path / "2/model.onnx").read_bytes() == other.read_bytes()
    parameters = parameters_of(read_config(model.path / "config.pbtxt"))
    assert card_from_metadata(parameters, "it").precision == "fp16"
    assert parameters[SHA256_KEY] == sha256_file(other)
    shutil.rmtree(model.path / "1")
    assert write_triton_repository(other, tmp_path / "models").version == 3


def test_edits_of_what_clients_do_not_see_stay(fp32, tmp_path):
    model = write_triton_repository(fp32, tmp_path / "models")
    config = model.path / "config.pbtxt"
    text = (
        config.read_text().replace("KIND_AUTO", "KIND_GPU\n  count: 3  # tuned") + "response_cache { enable: true }\n"
    )
    config.write_text(text)
    assert write_triton_repository(fp32, tmp_path / "models").version == 2
    assert config.read_text() == text


@pytest.mark.parametrize(
    ("artifact", "named"),
    [
        ("batch4.onnx", "max_batch_size"),
        ("fp16.pixels.onnx", "input"),
        ("int8 top-k.onnx", "output"),
        ("masks.onnx", "max_batch_size"),
    ],
)
def test_a_version_that_clients_would_not_expect_is_refused(artifacts, fp32, tmp_path, artifact, named):
    before = write_triton_repository(fp32, tmp_path / "models", name="w18")
    files = tree(tmp_path)
    with pytest.raises(
        UsageError, match=rf"new version of model 'w18' must have the same {named}, got .* beside "
    ) as e:
        write_triton_repository(artifacts[artifact], tmp_path / "models", name="w18")
    assert "\n" not in str(e.value)
    assert tree(tmp_path) == files
    assert before.version == 1


def test_a_version_with_other_classes_or_preprocessing_is_refused(artifacts, fp32, tmp_path):
    write_triton_repository(fp32, tmp_path / "models")
    for options, named in (({"classes": list("vwxyz")}, "classes"), ({"mean": (0.1, 0.2, 0.3)}, "preprocessing")):
        other = tmp_path / "other" / "fp32.onnx"
        export(fp32, **options, batch="1:4:8", output=other)
        with pytest.raises(UsageError, match=f"must have the same {named}"):
            write_triton_repository(other, tmp_path / "models")


def test_a_version_with_another_range_of_sizes_is_refused(artifacts, tmp_path):
    write_triton_repository(artifacts["sizes.onnx"], tmp_path / "models")
    other = tmp_path / "other" / "sizes.onnx"
    export(artifacts["sizes.onnx"], imgsz="64:64x96:96", output=other)
    with pytest.raises(UsageError, match=r"same range of batch and size, got .*96, 96\)\) beside .*128, 128\)\)"):
        write_triton_repository(other, tmp_path / "models")


def test_an_engine_is_no_version_of_a_graph(engine, fp32, tmp_path):
    write_triton_repository(fp32, tmp_path / "models", name="w18")
    with pytest.raises(UsageError, match=r'same backend, got backend: "tensorrt" beside backend: "onnxruntime"'):
        write_triton_repository(engine(), tmp_path / "models")


def test_a_delay_is_written_kept_and_never_changed_in_silence(artifacts, fp32, tmp_path):
    models = tmp_path / "models"
    model = write_triton_repository(fp32, models, delay_us=250)
    assert "max_queue_delay_microseconds: 250\n" in (model.path / "config.pbtxt").read_text()
    write_triton_repository(fp32, models)
    write_triton_repository(fp32, models, delay_us=250)
    with pytest.raises(UsageError, match="same max_queue_delay_microseconds, got 0 beside 250"):
        write_triton_repository(fp32, models, delay_us=0)
    with pytest.raises(UsageError, match="a delay needs an open batch"):
        write_triton_repository(artifacts["batch4.onnx"], models, delay_us=1)
    with pytest.raises(UsageError, match="delay must be 0 or more microseconds, got -1"):
        write_triton_repository(fp32, models, delay_us=-1)


def test_a_literal_that_someone_rewrote_is_not_guessed(fp32, tmp_path):
    model = write_triton_repository(fp32, tmp_path / "models")
    config = model.path / "config.pbtxt"
    digest = sha256_file(fp32)
    config.write_text(config.read_text().replace(f'"{digest}"', f'"{digest[:8]}" "{digest[8:]}"'))
    with pytest.raises(UsageError, match=r"same parameter hrnet_deploy\.sha256"):
        write_triton_repository(fp32, tmp_path / "models")


def others_model(folder):
    (folder / "fp32" / "1").mkdir(parents=True)
    (folder / "fp32" / "config.pbtxt").write_text('backend: "python"')


def photos(folder):
    (folder / "holiday").mkdir(parents=True)
    (folder / "holiday" / "beach.jpg").write_bytes(b"")


def a_model(folder):
    folder.mkdir()
    (folder / "config.pbtxt").write_text("")


def a_broken_config(folder):
    (folder / "fp32").mkdir(parents=True)
    (folder / "fp32" / "config.pbtxt").write_text('name: "')


def a_config_of_other_bytes(folder):
    (folder / "fp32").mkdir(parents=True)
    (folder / "fp32" / "config.pbtxt").write_bytes(b'name: "\xff"')


def a_large_config(folder):
    (folder / "fp32").mkdir(parents=True)
    with (folder / "fp32" / "config.pbtxt").open("wb") as file:
        file.truncate(1 << 40)


def a_deep_config(folder):
    (folder / "fp32").mkdir(parents=True)
    (folder / "fp32" / "config.pbtxt").write_text("a {" * 100_000)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (a_large_config, "Triton configuration must have at most"),
        (a_deep_config, "fp32/config.pbtxt must be protocol buffers as text"),
        (others_model, "model 'fp32' in .* must be written by hrnet-deploy, got another's"),
        (photos, "must hold models only, got the folder .*holiday"),
        (a_model, "must hold models in folders of their own, got the model"),
        (a_broken_config, "fp32/config.pbtxt must be protocol buffers as text"),
        (a_config_of_other_bytes, "fp32/config.pbtxt must be UTF-8"),
        (lambda folder: folder.write_text(""), "must be a folder, got the file"),
    ],
)
def test_a_folder_that_is_not_ours_stays_as_it_is(fp32, tmp_path, make, reason):
    make(tmp_path / "models")
    files = tree(tmp_path)
    with pytest.raises((UsageError, ArtifactError), match=reason) as caught:
        write_triton_repository(fp32, tmp_path / "models")
    assert "\n" not in str(caught.value)
    assert tree(tmp_path) == files


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
def test_a_pipe_in_place_of_a_configuration_is_one_line(fp32, tmp_path):
    (tmp_path / "models" / "fp32").mkdir(parents=True)
    os.mkfifo(tmp_path / "models" / "fp32" / "config.pbtxt")
    with pytest.raises(ArtifactError, match="Triton configuration must be a regular file, got a pipe"):
        write_triton_repository(fp32, tmp_path / "models")


def test_models_of_others_and_hidden_folders_stay_beside_ours(fp32, tmp_path):
    models = tmp_path / "models"
    (models / "bert" / "1").mkdir(parents=True)
    (models / ".git").mkdir()
    (models / "README.md").write_text("ours")
    write_triton_repository(fp32, models)
    write_triton_repository(fp32, models, name="second")
    assert {path.name for path in models.iterdir()} == {"bert", ".git", "README.md", "fp32", "second"}


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="needs a user whom permissions bind")
def test_a_folder_that_cannot_be_written_to_is_one_line(fp32, tmp_path):
    (tmp_path / "models").mkdir(mode=0o500)
    with pytest.raises(UsageError, match="output must be writable"):
        write_triton_repository(fp32, tmp_path / "models")


def test_on_another_file_system_the_model_itself_holds_what_is_prepared(fp32, tmp_path, monkeypatch):
    monkeypatch.setattr("hrnet_deploy.triton.repository.os.access", lambda *_: False)
    model = write_triton_repository(fp32, tmp_path / "models")
    assert write_triton_repository(fp32, tmp_path / "models").version == 2
    assert sorted(path.name for path in model.path.iterdir()) == ["1", "2", "config.pbtxt", "labels.txt"]
    assert [path.name for path in tmp_path.iterdir()] == ["models"]


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("w18.onnx", "w18"), ("a b/w 18 (copy).onnx", "w_18__copy_"), ("w18.v2.onnx", "w18.v2"),
        (".hidden.onnx", "hidden"), ("犬.onnx", "_"), ("..onnx", "model"), ("x/../y.engine", "y"),
    ],
)  # fmt: skip
def test_the_name_of_a_model_is_that_of_its_file(tmp_path, file, name):
    assert model_name(tmp_path / file) == name


@pytest.mark.parametrize("name", ["", "..", "a/b", "a b", ".a"])
def test_a_name_that_leaves_the_repository_is_refused(fp32, tmp_path, name):
    with pytest.raises(UsageError, match="model name must consist of"):
        write_triton_repository(fp32, tmp_path / "models", name=name)


def test_weights_in_other_files_come_along(artifacts, tmp_path):
    model = write_triton_repository(artifacts["external.onnx"], tmp_path / "models")
    assert sorted(path.name for path in (model.path / "1").iterdir()) == ["external.data", "model.onnx"]


@pytest.mark.parametrize("location", ["../secret", "/etc/hostname", "a/../../b", ""])
def test_weights_outside_of_the_folder_are_refused(artifacts, tmp_path, location):
    graph = onnx.load(artifacts["external.onnx"], load_external_data=False)
    for tensor in graph.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = location
    path = tmp_path / "w18.onnx"
    path.write_bytes(graph.SerializeToString())
    with pytest.raises(ArtifactError, match=r"weights of w18\.onnx must be in its folder"):
        write_triton_repository(path, tmp_path / "models")


def test_missing_weights_are_one_line(artifacts, tmp_path):
    path = tmp_path / "w18.onnx"
    shutil.copy(artifacts["external.onnx"], path)
    with pytest.raises(MissingFileError, match=r"weights of w18\.onnx must be in .*external\.data, got none"):
        write_triton_repository(path, tmp_path / "models")


def test_an_artifact_that_cannot_be_served_is_refused(artifacts, fp32, tmp_path):
    models = tmp_path / "models"
    with pytest.raises(MissingFileError):
        write_triton_repository(tmp_path / "none.onnx", models)
    (tmp_path / "w18.pth").write_bytes(b"")
    with pytest.raises(UsageError, match=r"must be an \.onnx or \.engine file"):
        write_triton_repository(tmp_path / "w18.pth", models)
    (tmp_path / "foreign.onnx").write_bytes(b"\x08\x09")
    with pytest.raises(ArtifactError, match="must carry a model card"):
        write_triton_repository(tmp_path / "foreign.onnx", models)
    graph = onnx.load(fp32)
    graph.graph.output[0].name = graph.graph.node[-1].output[0] = "scores"
    onnx.save(graph, tmp_path / "changed.onnx")
    with pytest.raises(ArtifactError, match="must have the inputs and outputs its card names"):
        write_triton_repository(tmp_path / "changed.onnx", models)
    assert not models.exists()


def test_an_engine_comes_with_its_sidecar(engine, tmp_path):
    model = write_triton_repository(engine(), tmp_path / "models")
    assert (model.tensorrt, model.releases) == ("10.5.0.18", ("24.10",))
    assert sorted(path.name for path in (model.path / "1").iterdir()) == ["model.plan", "model.plan.json"]
    assert read_sidecar(sidecar_path(model.path / "1" / "model.plan")) is not None


def test_an_engine_of_an_unknown_release_is_written_with_a_warning(engine, tmp_path, caplog):
    model = write_triton_repository(engine("11.4.0.106"), tmp_path / "models")
    assert model.releases == ()
    assert (
        "no Triton release with TensorRT 11.4.0.106 is in the table: find it in https://docs.nvidia.com" in caplog.text
    )


def test_an_engine_that_cannot_be_trusted_is_refused(engine, tmp_path):
    path, models = engine(), tmp_path / "models"
    path.write_bytes(b"ftrt" + bytes(63) + b"x")
    with pytest.raises(ArtifactError, match="must have SHA-256"):
        write_triton_repository(path, models)
    sidecar_path(path).unlink()
    with pytest.raises(MissingFileError, match=r"must have its sidecar w18\.engine\.json"):
        write_triton_repository(path, models)
    with pytest.raises(UsageError, match="TensorRT-RTX"):
        write_triton_repository(engine("1.7.1.116", "sm86", flavour="tensorrt-rtx"), models)
    assert not models.exists()


def test_a_model_for_images_is_beside_it_and_follows_its_card(fp32, tmp_path):
    models = tmp_path / "models"
    model = write_triton_repository(fp32, models, images=True)
    assert model.images == "fp32_images"
    assert tree(models / "fp32_images") == ["1/model.py", "config.pbtxt"]
    other = tmp_path / "other" / "fp32.onnx"
    export(fp32, precision="fp16", batch="1:4:8", output=other)
    assert write_triton_repository(other, models).images == "fp32_images"
    parameters = parameters_of(read_config(models / "fp32_images" / "config.pbtxt"))
    assert parameters[SHA256_KEY] == sha256_file(other)
    assert CARD_KEY in parameters
    assert tree(models / "fp32_images") == ["1/model.py", "config.pbtxt"]


def test_a_model_for_images_is_checked_before_anything_is_written(artifacts, fp32, tmp_path):
    models = tmp_path / "models"
    write_triton_repository(artifacts["masks.onnx"], models, name="fp32_images")
    files = tree(models)
    with pytest.raises(UsageError, match="new version of model 'fp32_images' must have the same backend"):
        write_triton_repository(fp32, models, images=True)
    assert tree(models) == files
    assert write_triton_repository(fp32, models).images is None


def test_a_repository_below_a_file_is_one_line(fp32, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"output must be writable, got .*file/models"):
        write_triton_repository(fp32, tmp_path / "file" / "models")


def test_an_export_ends_in_a_repository(artifacts, fp32, tmp_path):
    done = export(fp32, precision="fp16", output=tmp_path / "half.onnx", triton=tmp_path / "models", images=True)
    assert done.path == tmp_path / "half.onnx"
    assert (done.triton.name, done.triton.version, done.triton.images) == ("half", 1, "half_images")
    assert (done.triton.path / "1/model.onnx").read_bytes() == done.path.read_bytes()


def test_a_repository_that_cannot_be_written_to_is_refused_before_the_export(fp32, tmp_path):
    photos(tmp_path / "models")
    with pytest.raises(UsageError, match="must hold models only"):
        export(fp32, precision="fp16", output=tmp_path / "half.onnx", triton=tmp_path / "models")
    with pytest.raises(UsageError, match="delay must be 0 or more"):
        export(fp32, precision="fp16", output=tmp_path / "half.onnx", triton=tmp_path / "m", triton_delay_us=-3)
    assert not (tmp_path / "half.onnx").exists()


@pytest.fixture
def run(monkeypatch, capsys):
    """Run hrnet-export in this process; returns (exit code, stdout, stderr)."""

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["hrnet-export", *map(str, words)])
        code = export_command.main()
        return code, *capsys.readouterr()

    return call


def test_an_artifact_made_here_is_not_exported_again(run, fp32, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = fp32.stat()
    code, out, err = run(fp32, "--triton", "models", "--triton-delay-us", "100")
    assert (code, out) == (0, f"{fp32}\n")
    assert "copied as it is" in err
    assert "Triton: model fp32, version 1, in models" in err
    assert "Next: tritonserver --model-repository models" in err
    assert (fp32.stat().st_mtime_ns, [path.name for path in tmp_path.iterdir()]) == (before.st_mtime_ns, ["models"])
    code, out, _ = run(fp32, "--precision", "fp32", "--triton", "models", "--json")
    assert (code, json.loads(out)["triton"]["version"]) == (0, 2)


def test_an_engine_goes_to_a_repository_from_the_command_line(run, engine, tmp_path):
    code, _, err = run(engine(), "--triton", tmp_path / "models")
    assert code == 0
    assert "Triton 24.10 loads engines of TensorRT 10.5.0.18" in err
    assert " nodes" not in err
    code, _, err = run(engine(), "--triton", tmp_path / "models", "-o", tmp_path / "new.engine")
    assert (code, "an engine goes to a Triton repository as it is, got --output" in err) == (2, True)


@pytest.mark.parametrize("words", [("--images",), ("--triton-delay-us", "5")])
def test_an_option_of_triton_without_a_repository_is_refused(run, fp32, tmp_path, words):
    code, _, err = run(fp32, "-o", tmp_path / "new.onnx", *words)
    assert code == 2
    assert f"{words[0]} applies to exports with --triton only" in err


def test_a_recorded_command_leaves_the_repository_alone(fp32, tmp_path, monkeypatch):
    seen = []
    module = sys.modules["hrnet_deploy.export.run"]
    monkeypatch.setattr(module, "_export", lambda options, *_: seen.append(options))
    monkeypatch.setattr(module, "deploy", lambda result, _options: result)
    export(fp32, precision="fp16", triton=tmp_path / "models", images=True, triton_delay_us=3)
    assert "triton" not in seen[0].command_line()


def test_the_artifact_in_a_repository_predicts_as_before(fp32, images, tmp_path):
    model = write_triton_repository(fp32, tmp_path / "models")
    paths = sorted(images.iterdir())[:2]
    first, second = (
        [result.probs.tolist() for result in Predictor(path, device="cpu", backend="onnxruntime").predict(paths)]
        for path in (fp32, model.path / "1" / "model.onnx")
    )
    assert first == second
