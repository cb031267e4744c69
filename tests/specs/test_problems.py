from lstcl_platform.specs.problems import Problem, did_you_mean, dotted, nearest, refuse


def test_paths_are_written_as_people_write_them():
    assert dotted(("sweep", "cases", 0, "pretrain.seed")) == "sweep.cases[0].pretrain.seed"
    assert dotted(()) == ""


def test_the_nearest_name_ignores_case_and_is_not_far_fetched():
    assert nearest("Epochs", ["epochs", "seed"]) == "epochs"
    assert nearest("zzz", ["epochs", "seed"]) is None
    assert did_you_mean("epchs", ["epochs"]) == "; did you mean 'epochs'?"
    assert did_you_mean(3, ["epochs"]) == ""


def test_each_problem_is_listed_once():
    problem = Problem(path=("a", "b"), text="wrong")
    error = refuse(
        [problem, problem, Problem(path=(), text="empty")], title="f.yaml", where=lambda _: "f.yaml:1"
    )
    assert str(error) == "Found 2 errors in f.yaml\n  f.yaml:1: a.b: wrong\n  f.yaml:1: empty"
