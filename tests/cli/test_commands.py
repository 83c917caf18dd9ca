"""The command line as a whole: help, version, completion, and the commands that report."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import av
import pytest

from accel_rt.classes import CAMVID
from accel_rt.cli import doctor as doctor_module
from accel_rt.cli.text import table
from accel_rt.models.weights import content_hash, save_int8
from accel_rt.version import __version__

ROOT = Path(__file__).parents[2]


def test_version(accel):
    done = accel("--version")
    assert (done.code, done.out) == (0, f"accel-rt {__version__}\n")


@pytest.mark.parametrize("args", [["--help"], ["-h"], []])
def test_help_names_every_command(accel, args):
    done = accel(*args)
    assert done.code == 0
    for command in ("segment", "models", "doctor", "train", "completion"):
        assert f"\n  {command} " in done.out


def test_help_of_segment_names_every_option(accel):
    done = accel("segment", "--help")
    options = "output reference update interval mode flow warp update-scale weights size device"
    options += " precision classes alpha legend masks masks-format timing start end no-video codec"
    options += " no-audio crf skip-existing scene-cuts"
    for option in options.split():
        assert f"--{option}" in done.out, option


@pytest.mark.parametrize(
    "args", [["--help"], ["segment", "--help"], ["train", "deeplab", "--help"], ["--version"]]
)
def test_help_imports_nothing_heavy(args):
    code = (
        "import sys; from accel_rt.cli.main import run; assert run(sys.argv[1:]) == 0; "
        "heavy = {'torch', 'numpy', 'cv2', 'av', 'rich'}; "
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, *args], check=True, cwd=ROOT, capture_output=True)


def test_a_street_is_written_in_a_codec_that_its_file_holds(accel):
    size = ["--seconds", 0.1, "--size", "64x48"]
    for name, codec in (("a.webm", "vp9"), ("a.MKV", "h264")):
        assert accel("street", name, *size).code == 0
        with av.open(name) as container:
            assert container.streams.video[0].codec_context.name == codec


def test_unknown_command(accel):
    done = accel("segmnet")
    assert done.code == 2
    assert "No such command 'segmnet'" in done.error


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script(accel, shell):
    done = accel("completion", shell)
    assert done.code == 0
    assert "_ACCEL_RT_COMPLETE" in done.out
    assert "accel-rt" in done.out


def test_completion_completes(tmp_path):
    def complete(words):
        env = {**os.environ, "_ACCEL_RT_COMPLETE": "bash_complete", "COMP_WORDS": words}
        env["COMP_CWORD"] = str(len(words.split()) - 1)
        code = "from accel_rt.cli.main import main; main()"
        done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, cwd=ROOT)
        return done.stdout.decode().split()

    assert "plain,segment" in complete("accel-rt seg")
    assert "plain,--interval" in complete("accel-rt segment --int")
    assert "plain,composed" in complete("accel-rt segment --warp comp")


def test_closed_pipe_is_no_error():
    code = "from accel_rt.cli.main import main; main(['segment', '--help'])"
    command = f'{sys.executable} -c "{code}" | true; exit ${{PIPESTATUS[0]}}'
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd=ROOT)
    assert done.stderr == ""


@pytest.fixture
def weights(tmp_path, monkeypatch):
    from accel_rt.models import store
    from accel_rt.models.accel import ScoreFusion
    from accel_rt.models.weights import ModelInfo, save_network
    from accel_rt.models.zoo import build_network

    name = "efficientnet_lite0"
    folder = tmp_path / "weights"
    info = ModelInfo(name, CAMVID, (360, 480), "street scenes", 61.25, "validation")
    save_network(folder / f"{name}.safetensors", build_network(name, 11), info)
    file = folder / f"{name}.safetensors"
    pair = {**store.pair(file, file), "trained_on": "snippets"}
    store.save_fusion(folder / f"fusion-{name}-{name}.safetensors", ScoreFusion(11), pair)
    monkeypatch.setenv("ACCEL_RT_WEIGHTS", str(folder))
    return folder


def test_models_table(accel, weights):
    done = accel("models")
    assert done.code == 0
    row = next(line for line in done.out.splitlines() if line.startswith("efficientnet_lite0 "))
    size_mb = (weights / "efficientnet_lite0.safetensors").stat().st_size / 1e6
    assert row.split() == [
        "efficientnet_lite0",
        "update",
        f"{size_mb:.2f}",
        "-",
        "11",
        "61.2",
        "street",
        "scenes",
    ]
    assert "efficientnet_lite0 + efficientnet_lite0" in done.out


def test_models_say_which_weights_have_integers(accel, weights):
    plain = weights / "efficientnet_lite0.safetensors"
    save_int8(weights / "packed.safetensors", plain, b"integers", content_hash(plain))
    row = next(line for line in accel("models").out.splitlines() if line.startswith("packed "))
    assert row.split()[2] == "yes"
    told = {row["name"]: row.get("int8") for row in json.loads(accel("models", "--json").out)}
    assert (told["packed"], told["efficientnet_lite0"]) == (True, False)


def test_models_name_the_classes_of_each_network_once(accel, weights):
    for name in ("second", "third"):
        shutil.copy(weights / "efficientnet_lite0.safetensors", weights / f"{name}.safetensors")
    out = accel("models").out
    assert "classes of efficientnet_lite0, second, third" in out
    assert out.count(f"  {', '.join(CAMVID.names)}") == 1


def test_models_json(accel, weights):
    done = accel("models", "--json")
    rows = {row["name"]: row for row in json.loads(done.out)}
    network = rows["efficientnet_lite0"]
    assert network["classes"] == list(CAMVID.names)
    assert (network["miou"], network["kind"], network["network"]) == (
        61.25,
        "network",
        "efficientnet_lite0",
    )
    assert rows["fusion-efficientnet_lite0-efficientnet_lite0"]["kind"] == "fusion"


def test_a_damaged_file_does_not_hide_the_others(accel, weights):
    """It is named; asked for by its name it is an error, and not the package's of that name."""
    (weights / "efficientnet_lite2.safetensors").write_bytes(b"nothing")
    (weights / "._x.safetensors").write_bytes(b"a file that macOS leaves")
    done = accel("models")
    assert done.code == 0
    assert "efficientnet_lite0 + efficientnet_lite0" in done.out
    names = [row["name"] for row in json.loads(accel("models", "--json").out)]
    assert "efficientnet_lite0" in names
    assert "efficientnet_lite2" not in names
    assert done.err.count("note: ") == 1
    assert "efficientnet_lite2.safetensors is not a readable safetensors file" in done.err
    report = doctor_report(accel("doctor", "--json"))
    assert report["weights efficientnet_lite2"]["status"] == "note"
    assert report["weights"]["found"].startswith("efficientnet_lite0")
    done = accel("pack", "efficientnet_lite2", "-o", "x.safetensors")
    assert (done.code, "is not a readable" in done.error) == (1, True)
    assert accel("pack", "efficientnet_lite0", "-o", "x.safetensors").code == 0


def test_several_folders_of_weights(accel, weights, tmp_path, monkeypatch):
    second = tmp_path / "second"
    second.mkdir()
    (weights / "efficientnet_lite0.safetensors").rename(second / "own.safetensors")
    monkeypatch.setenv("ACCEL_RT_WEIGHTS", f"{weights}{os.pathsep}{second}")
    done = accel("models")
    assert "\nown " in done.out
    report = doctor_report(accel("doctor", "--json"))
    assert f"{weights}{os.pathsep}{second}" in report["weight folders"]["found"]


@pytest.mark.parametrize(
    "command", [["models"], ["segment", "clip.mp4"], ["pack", "a", "-o", "b.safetensors"]]
)
def test_a_folder_of_weights_that_is_none_is_an_error(accel, clip, monkeypatch, command):
    monkeypatch.setenv("ACCEL_RT_WEIGHTS", f"{clip.parent}{os.pathsep}/no/where")
    done = accel(*command)
    assert done.code == 2
    assert "ACCEL_RT_WEIGHTS names '/no/where', which is no folder" in done.error
    report = doctor_report(accel("doctor", "--json"))
    assert report["weights"]["status"] == "broken"
    assert "/no/where" in report["weights"]["found"]


def test_no_models(accel, tmp_path, monkeypatch):
    monkeypatch.setattr("accel_rt.models.store.folders", lambda: [tmp_path])
    done = accel("models")
    assert (done.code, done.out) == (0, "")
    assert f"no weights are installed in {tmp_path}" in done.err
    assert accel("models", "--json").out == "[]\n"


def doctor_report(done):
    return {check["name"]: check for check in json.loads(done.out)}


def test_doctor_says_what_there_is(accel, weights, monkeypatch):
    monkeypatch.setattr(doctor_module, "DEFAULT_REFERENCE", "efficientnet_lite0")
    done = accel("doctor", "--json")
    report = doctor_report(done)
    assert done.code == 0
    import torch

    assert report["torch"]["found"] == torch.__version__
    assert report["codec h264"]["status"] == "ok"
    assert report["weights"]["found"].startswith("efficientnet_lite0")
    assert accel("doctor").out.count("\n") >= len(report)


def test_doctor_fails_without_weights(accel, tmp_path, monkeypatch):
    monkeypatch.setattr("accel_rt.models.store.folders", lambda: [tmp_path])
    done = accel("doctor")
    assert done.code == 1
    assert "weights: the default networks" in done.out


def test_doctor_fails_without_h264(accel, weights, monkeypatch):
    from dataclasses import replace

    from accel_rt.video import writer

    missing = replace(writer.CODECS["h264"], encoder="no_such_encoder")
    monkeypatch.setitem(writer.CODECS, "h264", missing)
    done = accel("doctor", "--json")
    assert done.code == 1
    assert doctor_report(done)["codec h264"]["status"] == "broken"


def test_doctor_says_why_the_operators_are_missing(accel, weights, monkeypatch):
    from accel_rt.ops import ExtensionStatus

    status = ExtensionStatus(False, Path("/x/_C.so"), "the file is not there", False, "none")
    monkeypatch.setattr("accel_rt.ops.extension_status", lambda: status)
    report = doctor_report(accel("doctor", "--json"))
    assert report["compiled operators"]["status"] == "slow"
    assert "the file is not there" in report["compiled operators"]["found"]
    assert report["compiled operators"]["advice"]


def test_doctor_fails_without_a_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    checks = list(doctor_module.examine())
    assert (checks[-1].name, checks[-1].status) == ("av", "broken")
    assert checks[-1].advice == "pip install av"


def test_train_passes_its_options_on(accel, monkeypatch, tmp_path):
    import accel_rt.train.deeplab as deeplab

    calls = []

    def train(settings, out, report, progress, stop):
        calls.append((settings, out))
        progress(1, 5)
        report("step 20")
        return out / "x.safetensors"

    monkeypatch.setattr(deeplab, "train_deeplab", train)
    args = "train deeplab --network resnet18 --out run --steps 5 --crop 64x48 --scale 0.5,2"
    done = accel(*args.split(), "--data", tmp_path, "--street", 0.5, "--init", "imagenet")
    assert (done.code, done.out, done.err) == (0, "run/x.safetensors\n", "step 20\n")
    settings, out = calls[0]
    assert out == Path("run")
    assert (settings.network, settings.steps, settings.crop) == ("resnet18", 5, (48, 64))
    assert (settings.scale, settings.street, settings.init) == ((0.5, 2.0), 0.5, "imagenet")
    assert settings.data == tmp_path
    assert settings.batch == deeplab.DeepLabSettings("x").batch
    assert accel("train", "deeplab", "--network", "resnet18", "--out", "run").code == 0
    assert (calls[1][0].data, calls[1][0].street) == (None, 1.0)


def test_train_fusion_passes_its_options_on(accel, monkeypatch, tmp_path):
    import accel_rt.train.fusion as fusion

    calls = []

    def train(settings, out, report):
        calls.append(settings)
        return out

    monkeypatch.setattr(fusion, "train_fusion", train)
    args = "train fusion --out f.safetensors --reference r --update u --interval 8"
    done = accel(*args.split(), "--data", tmp_path)
    assert (done.code, done.out) == (0, "f.safetensors\n")
    settings = calls[0]
    assert (settings.reference, settings.update, settings.interval) == ("r", "u", 8)
    assert settings.steps == fusion.FusionSettings("a", "b", tmp_path).steps


def test_train_policy_passes_its_options_on(accel, monkeypatch, tmp_path):
    import accel_rt.train.policy as policy

    calls = []

    def train(videos, settings, out, report):
        calls.append((videos, settings))
        return out

    monkeypatch.setattr(policy, "train_policy", train)
    done = accel("train", "policy", "a.mp4", "b.mp4", "--out", "p.safetensors", "--steps", 5)
    assert (done.code, done.out) == (0, "p.safetensors\n")
    assert calls == [((Path("a.mp4"), Path("b.mp4")), policy.PolicySettings(steps=5))]
    monkeypatch.undo()
    done = accel("train", "policy", tmp_path / "missing.mp4", "--out", tmp_path)
    assert done.code == 1
    assert "missing.mp4" in done.err


def test_train_joint_passes_its_options_on(accel, monkeypatch, tmp_path):
    import accel_rt.train.joint as joint

    calls = []

    def train(settings, out, report, progress, stop):
        calls.append(settings)
        return [out / "a", out / "b"]

    monkeypatch.setattr(joint, "train_joint", train)
    args = "train joint --out run --reference r --update u --update-scales 0.5 --flow flownets"
    more = ("--data", tmp_path, "--also", f"{tmp_path}=0.3", "--teacher", "a,b")
    done = accel(*args.split(), *more, "--fusion", "feature", "--no-tensorboard")
    assert (done.code, done.out) == (0, "run/a\nrun/b\n")
    settings = calls[0]
    assert (settings.update_scales, settings.flow, settings.fusion) == (
        (0.5,),
        "flownets",
        "feature",
    )
    assert (settings.also, settings.teacher) == (((tmp_path, 0.3),), ("a", "b"))
    assert (settings.street, settings.tensorboard) == (0.25, False)
    assert accel("train", "joint", "--out", "run", "--reference", "r").code == 0
    assert (calls[1].update, calls[1].data, calls[1].street) == (None, None, 1.0)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_train_interrupted_by_a_signal(accel, monkeypatch, number):
    """The run is asked to stop and saves; the exit code is that of Ctrl-C."""
    import accel_rt.train.joint as joint

    def train(settings, out, report, progress, stop):
        assert not stop()
        os.kill(os.getpid(), number)
        assert stop()
        report("saved")
        raise KeyboardInterrupt

    monkeypatch.setattr(joint, "train_joint", train)
    done = accel("train", "joint", "--out", "run", "--reference", "r")
    assert (done.code, done.out) == (130, "")
    assert done.err.endswith("saved\n")


def test_time_left_goes_with_the_steps(capsys, monkeypatch):
    from accel_rt.cli import progress as module

    times = iter([0.0, 10.0])
    monkeypatch.setattr(module, "monotonic", lambda: next(times))
    with module.steps_bar("run") as (report, progress):
        report("step 0")
        progress(1, 800)
        progress(2, 800)
        report("step 2 loss 1.0")
        report("saved")
    assert capsys.readouterr().err == "step 0\nstep 2 loss 1.0, 2:13:00 left\nsaved\n"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--street", "0.5"], "give --data too"),
        (["--scale", "1"], "--scale takes 2 numbers, got 1"),
        (["--scale", "-1,2"], "--scale must be above 0, got -1"),
        (["--rate", "nan"], "'--rate': nan is not a finite number"),
        (["--teacher-scales", "0"], "--teacher-scales must be above 0, got 0"),
        (["--data", "nowhere"], "does not exist"),
    ],
)
def test_train_usage(accel, args, message):
    done = accel("train", "deeplab", "--network", "resnet18", "--out", "run", *args)
    assert done.code == 2
    assert message in done.error


def test_table_aligns_columns():
    rows = [("name", "MB"), ("a", "10.5"), ("longer", "1.0")]
    assert table(rows, right=(1,)) == "name      MB\na       10.5\nlonger   1.0"
