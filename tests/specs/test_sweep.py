import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstcl_platform.specs import ExperimentSpec, UserError, expand, load_experiment
from lstcl_platform.specs.data import DataSpec
from lstcl_platform.specs.experiment import SweepSpec

SHORT, LONG = "pretrain.clips.short_stride", "pretrain.clips.long_stride"


def experiment(**sweep):
    return ExperimentSpec(name="study", data=DataSpec(train="a", val="b"), sweep=SweepSpec(**sweep))


def names(spec):
    return [trial.name for trial in expand(spec).trials]


def refusal(spec):
    with pytest.raises(UserError) as caught:
        expand(spec)
    return str(caught.value)


def test_without_a_sweep_there_is_one_trial_with_the_common_settings():
    spec = experiment()
    (trial,) = expand(spec).trials
    assert (trial.experiment, trial.name, trial.cell) == ("study", "default", {})
    assert trial.spec.pretrain == spec.pretrain


def test_the_grid_is_the_product_last_axis_fastest():
    trials, excluded = expand(experiment(grid={LONG: [16, 32], "pretrain.seed": [0, 1]}))
    assert [trial.name for trial in trials] == [
        "long=16 seed=0",
        "long=16 seed=1",
        "long=32 seed=0",
        "long=32 seed=1",
    ]
    assert trials[1].cell == {LONG: 16, "pretrain.seed": 1}
    pretrain = trials[1].spec.pretrain
    assert pretrain is not None
    assert (pretrain.clips.short_stride, pretrain.clips.long_stride, pretrain.seed) == (8, 16, 1)
    assert excluded == ()


def test_figure_2_has_ten_cells_and_says_why_the_other_six_are_none():
    strides = [4, 8, 16, 32]
    expansion = expand(experiment(grid={SHORT: strides, LONG: strides}, illegal="exclude"))
    assert [trial.name for trial in expansion.trials] == [
        f"short={short} long={long}" for short, long in itertools.product(strides, strides) if short <= long
    ]
    assert [cell.name for cell in expansion.excluded] == [
        "short=8 long=4",
        "short=16 long=4",
        "short=16 long=8",
        "short=32 long=4",
        "short=32 long=8",
        "short=32 long=16",
    ]
    assert expansion.excluded[0].reason.startswith(
        "pretrain.clips: short_stride (8) must not exceed long_stride (4)"
    )


def test_an_illegal_cell_is_refused_by_name_unless_excluded():
    grid = {SHORT: [8, 16], LONG: [8, 16]}
    message = refusal(experiment(grid=grid))
    assert message.startswith("Found 1 error in experiment study")
    assert "cell 'short=16 long=8' is illegal: pretrain.clips: short_stride (16) must not exceed" in message
    expansion = expand(experiment(grid=grid, exclude=[{SHORT: 16, LONG: 8}]))
    assert len(expansion.trials) == 3
    assert [(cell.name, cell.reason) for cell in expansion.excluded] == [
        ("short=16 long=8", f"matches sweep.exclude {SHORT}=16 {LONG}=8")
    ]


def test_the_common_part_may_be_illegal_where_the_cells_are_not(write):
    spec = load_experiment(
        write(f"pretrain: {{clips: {{short_stride: 64}}}}\nsweep: {{grid: {{{LONG}: [64, 96]}}}}\n")
    )
    assert names(spec) == ["long=64", "long=96"]


def test_a_rule_that_no_cell_touches_is_told_once_at_its_block(write):
    text = f"pretrain: {{epochs: 20}}\nsweep: {{grid: {{{LONG}: [16, 32]}}, illegal: exclude}}\n"
    with pytest.raises(UserError) as caught:
        load_experiment(write(text))
    assert str(caught.value).splitlines()[1:] == [
        f"  {write(text)}:5: pretrain: warmup_epochs (40) must be below epochs (20)"
    ]


def test_several_finetunes_may_share_a_pretraining():
    spec = experiment(grid={"pretrain.seed": [0], "finetune.seed": [0, 1]})
    assert names(spec) == ["pretrain.seed=0 finetune.seed=0", "pretrain.seed=0 finetune.seed=1"]


def test_a_case_with_lists_is_a_small_grid_of_its_own():
    spec = experiment(
        grid={LONG: [8, 32], "pretrain.seed": [0, 1]},
        cases=[{"name": "scratch", "pretrain": None, "finetune.seed": [0, 1]}, {"pretrain": None}],
    )
    assert names(spec)[4:] == ["scratch finetune.seed=0", "scratch finetune.seed=1", "pretrain=null"]
    scratch = expand(spec).trials[5]
    assert scratch.spec.pretrain is None
    assert scratch.spec.finetune.seed == 1
    assert scratch.cell == {"pretrain": None, "finetune.seed": 1}


def test_a_range_in_a_case_is_one_value_and_a_list_of_ranges_an_axis():
    crop = "pretrain.augment.crop_area"
    spec = experiment(
        cases=[{"name": "one", crop: [0.3, 0.5]}, {"name": "two", crop: [[0.3, 0.5], [0.4, 0.5]]}]
    )
    assert names(spec) == ["one", "two crop_area=[0.3,0.5]", "two crop_area=[0.4,0.5]"]
    assert expand(spec).trials[0].spec.pretrain.augment.crop_area == (0.3, 0.5)


def test_a_cell_replaces_a_whole_block():
    spec = experiment(grid={"pretrain": [None, {"epochs": 50, "seed": 3}]})
    scratch, trained = expand(spec).trials
    assert scratch.spec.pretrain is None
    assert trained.name == "pretrain={epochs:50,seed:3}"
    assert (
        trained.spec.pretrain.epochs,
        trained.spec.pretrain.seed,
        trained.spec.pretrain.warmup_epochs,
    ) == (50, 3, 40)


def test_below_a_null_block_nothing_can_be_set():
    message = refusal(experiment(grid={"pretrain": [None, {}], "pretrain.seed": [0, 1]}))
    assert (
        "cell 'pretrain=null seed=0' is illegal: pretrain is null here, so pretrain.seed cannot be set"
        in message
    )
    expansion = expand(experiment(grid={"pretrain": [None, {}], "pretrain.seed": [0, 1]}, illegal="exclude"))
    assert len(expansion.trials) == len(expansion.excluded) == 2
    spec = experiment(grid={"pretrain.seed": [0, 1]}, illegal="exclude").model_copy(update={"pretrain": None})
    assert refusal(spec).splitlines()[1:] == [
        "  study: sweep.grid.pretrain.seed: pretrain is null here, so pretrain.seed cannot be set"
    ]


@pytest.mark.parametrize(
    ("sweep", "message"),
    [
        (
            {"grid": {"pretrain.epochz": [1]}},
            "sweep.grid.pretrain.epochz: unknown field; did you mean 'epochs'?",
        ),
        ({"grid": {"epochs": [1]}}, "unknown field; did you mean 'pretrain.epochs' or 'finetune.epochs'?"),
        ({"grid": {"pretrain.seed.x": [1]}}, "unknown field: pretrain.seed is not a block of fields"),
        ({"grid": {"storage.path": ["a"]}}, "sweep.grid.storage.path: unknown field (allowed: data, model, "),
        ({"grid": {"pretrain.seed": []}}, "sweep.grid.pretrain.seed: needs at least one value"),
        (
            {"grid": {"pretrain.seed": [0, "a"]}},
            "sweep.grid.pretrain.seed[1]: must be a whole number, not the text 'a'",
        ),
        (
            {"grid": {"pretrain": [{"epoch": 1}]}},
            "sweep.grid.pretrain[0]: epoch: unknown field; did you mean 'epochs'?",
        ),
        ({"grid": {"pretrain.seed": [0, 0]}}, "two cells are named 'seed=0'"),
        (
            {"cases": [{"name": "a", "model.frame": 8}]},
            "sweep.cases[0].model.frame: unknown field; did you mean 'frames'?",
        ),
        ({"cases": [{"name": "a"}]}, "sweep.cases[0]: sets no field"),
        ({"cases": [{"name": 3, "pretrain": None}]}, "sweep.cases[0].name: must be text that names the case"),
        ({"cases": [{"finetune.seed": []}]}, "sweep.cases[0].finetune.seed: needs at least one value"),
        ({"cases": [{"finetune.seed": -1}]}, "sweep.cases[0].finetune.seed: must be at least 0, not -1"),
        (
            {"exclude": [{"finetune.sed": 1}]},
            "sweep.exclude[0].finetune.sed: unknown field; did you mean 'seed'?",
        ),
        (
            {"exclude": [{"finetune.seed": "0"}]},
            'sweep.exclude[0].finetune.seed: no cell can have the value "0"',
        ),
        ({"exclude": [{}]}, "sweep.exclude[0]: sets no field"),
        (
            {"exclude": [{"finetune.seed": 0}]},
            "no cell is left (default: matches sweep.exclude finetune.seed=0)",
        ),
    ],
)
def test_a_wrong_sweep_says_where_and_what(sweep, message):
    assert message in refusal(experiment(**sweep))


def test_exclude_matches_resolved_values_lists_and_blocks():
    grid = {"finetune.seed": [0, 1, 2, 3]}
    assert names(experiment(grid=grid, exclude=[{"finetune.seed": [1, 2]}])) == ["seed=0", "seed=3"]
    assert names(experiment(grid=grid, exclude=[{"finetune.seed": 1, "finetune.stride": 8}])) == [
        "seed=0",
        "seed=2",
        "seed=3",
    ]
    assert len(names(experiment(grid=grid, exclude=[{"finetune.seed": 1, "finetune.stride": 4}]))) == 4
    assert names(experiment(grid=grid, exclude=[{"finetune": {"seed": 1}}])) == ["seed=0", "seed=2", "seed=3"]
    assert names(
        experiment(grid={"pretrain": [None, {}]}, exclude=[{"pretrain": None}, {"pretrain.seed": 5}])
    ) == ["pretrain={}"]


def test_the_experiment_is_not_changed_by_its_expansion():
    spec = experiment(grid={"pretrain": [{"clips": {"short_stride": 4}}], LONG: [8, 32]})
    before = spec.model_dump_json()
    first = expand(spec)
    assert expand(spec) == first
    assert spec.model_dump_json() == before


AXES = {
    SHORT: [1, 2, 4, 8],
    LONG: [8, 16, 32, 64],
    "pretrain.seed": [0, 1, 2],
    "finetune.seed": [0, 1, 2],
    "finetune.lr_base": [1e-4, 5e-4, 1e-3],
    "evaluate.stride": [None, 4, 8],
    "model.frames": [4, 8],
}


@given(
    st.dictionaries(st.sampled_from(sorted(AXES)), st.integers(1, 3), max_size=4).map(
        lambda sizes: {path: AXES[path][:size] for path, size in sizes.items()}
    )
)
def test_every_cell_of_the_product_becomes_one_trial_that_has_its_values(grid):
    trials = expand(experiment(grid=grid)).trials
    cells = [tuple(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    assert [tuple(trial.cell.items()) for trial in trials] == cells
    assert len({trial.name for trial in trials}) == len(trials)
    for trial in trials:
        for path, value in trial.cell.items():
            node = trial.spec
            for part in path.split("."):
                node = getattr(node, part)
            assert node == value
