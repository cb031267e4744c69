"""Initial weights in a spec: what is refused, and that their content, not their place, is in the key."""

import hashlib

import pytest

from lstcl_platform.specs import Trial, UserError, build_graph, expand, load_experiment

DATA = "data: {train: a, val: b}\nname: study\n"


def spec_file(folder, text):
    path = folder / "study.yaml"
    path.write_text(DATA + text)
    return path


def only_trial(path) -> Trial:
    (trial,) = expand(load_experiment(path)).trials
    return trial


def keys(trial: Trial) -> list[str]:
    data = trial.spec.data
    return list(build_graph([trial], manifests={data.train: "x", data.val: "y"}).stages)


def test_a_local_file_counts_from_the_spec_and_is_pinned_by_its_content(tmp_path):
    (tmp_path / "w.pth").write_bytes(b"weights")
    text = "model: {name: timesformer_base, init: {kind: timesformer_official, file: w.pth}}\n"
    trial = only_trial(spec_file(tmp_path, text))
    assert trial.spec.model.init.file == str(tmp_path / "w.pth")
    assert trial.spec.model.init.sha256 == hashlib.sha256(b"weights").hexdigest()
    first = keys(trial)

    moved = tmp_path / "elsewhere"
    moved.mkdir()
    (moved / "other.pth").write_bytes(b"weights")
    assert keys(only_trial(spec_file(moved, text.replace("w.pth", "other.pth")))) == first
    stated = f"w.pth, sha256: {trial.spec.model.init.sha256}"
    assert keys(only_trial(spec_file(tmp_path, text.replace("w.pth", stated)))) == first

    (tmp_path / "w.pth").write_bytes(b"WEIGHTS")
    assert not set(keys(only_trial(spec_file(tmp_path, text)))) & set(first)
    scratch = only_trial(spec_file(tmp_path, "model: {name: timesformer_base}\n"))
    assert not set(keys(scratch)) & set(first)


def test_weights_may_be_swept(tmp_path):
    (tmp_path / "w.pth").write_bytes(b"weights")
    text = """\
    pretrain: null
    sweep:
      grid:
        model.init:
          - null
          - {kind: native, file: w.pth}
          - {kind: timm, name: swin_base_patch4_window7_224.ms_in22k_ft_in1k}
    """
    trials = expand(load_experiment(spec_file(tmp_path, text.replace("\n    ", "\n").strip() + "\n"))).trials
    scratch, native, timm = (trial.spec.model.init for trial in trials)
    assert scratch is None
    assert native.file == str(tmp_path / "w.pth")
    assert len(native.sha256) == 64
    assert (timm.file, timm.sha256) == (None, None)
    assert len({key for trial in trials for key in keys(trial)}) == 6


@pytest.mark.parametrize(
    ("init", "message"),
    [
        ("{kind: native, file: absent.pth}", r"study.yaml:3: .*absent.pth: No such file"),
        ("{kind: native, file: 's3://b/w.pth'}", "is a URI: state the file's sha256"),
        ("{kind: timm}", "kind timm takes either a name or a file"),
        ("{kind: timm, name: x, file: y}", "kind timm takes either a name or a file"),
        (f"{{kind: timm, name: x, sha256: {'a' * 64}}}", "sha256 is that of a file"),
        ("{kind: timesformer_official, file: w}", "is for a timesformer, not for st_swin_base"),
        (
            "{kind: keras, file: w}",
            "kind must be one of timm, timesformer_official, video_swin_official, native",
        ),
        ("{kind: native, file: w, sha256: abc}", "sha256"),
    ],
)
def test_a_wrong_source_is_refused_in_words(tmp_path, init, message):
    with pytest.raises(UserError, match=message):
        load_experiment(spec_file(tmp_path, f"model: {{init: {init}}}\n"))


def test_a_missing_file_of_a_cell_is_refused_at_its_place(tmp_path):
    text = "sweep: {grid: {model.init: [null, {kind: native, file: absent.pth}]}}\n"
    with pytest.raises(UserError, match=r"sweep.grid.*absent.pth: No such file"):
        load_experiment(spec_file(tmp_path, text))
