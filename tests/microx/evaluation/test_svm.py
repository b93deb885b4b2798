import numpy as np
import pytest

from microx.errors import InputError, ModelError
from microx.evaluation.evaluate import evaluate
from microx.evaluation.metrics import accuracy_score
from microx.evaluation.result import read_result, write_result
from microx.experiments.run import Row, run_grid
from microx.report.page import write_report
from microx.training.fit import train
from microx.training.settings import FIT_SETTINGS, FitSettings


@pytest.mark.parametrize("preset", ["flow+svm", "hog+svm", "pixels+svm"])
def test_a_support_vector_machine_is_a_row_like_any_other(moving, tmp_path, preset):
    result = evaluate(moving, protocol="kfold", preset=preset, progress=False)
    if preset == "flow+svm":
        assert accuracy_score(result.y_true, result.y_pred) > 0.8
    assert set(np.unique(result.y_prob)) == {0, 1}
    assert result.history.empty
    assert (result.facts.preset, result.facts.n_parameters) == (preset, 0)
    write_result(result, tmp_path / "cell")
    assert np.array_equal(read_result(tmp_path / "cell").y_prob, result.y_prob)


def test_a_run_holds_networks_and_svms_and_a_report_tells_them_apart(moving, tmp_path):
    rows = [Row("motion", {"preset": "motion"}), Row("svm", {"preset": "flow+svm"})]
    told = {"experiment": "test", "arguments": {}, "epochs": 2, "oracle": True, "progress": False}
    run = run_grid(moving, tmp_path / "run", rows, **told)
    assert list(run.table["name"])[:2] == ["motion", "svm"]
    assert list(run.oracles) == ["motion"]  # an SVM has no epochs to choose from
    page = write_report([run.folder], moving).read_text(encoding="utf-8")
    assert "No epoch was chosen: every clip that is not tested was trained on" in page
    assert "inner validation set" not in page
    again = run_grid(moving, tmp_path / "run", rows, **told)
    assert again.table.equals(run.table)


def test_an_svm_has_no_settings_of_networks():
    chosen = FitSettings.of("hog+svm", epochs=3, balance="none")
    assert (chosen.epochs, chosen.balance) == (FIT_SETTINGS["hog+svm"].epochs, "none")
    for change in ({"occlude": "mask:0.5"}, {"augment": "flip"}, {"build": {"dropout": 0.5}}):
        with pytest.raises(InputError, match=f"{next(iter(change))} is for networks; received"):
            FitSettings.of("hog+svm", **change)
    with pytest.raises(InputError, match="must be none or weights; received sampling"):
        FitSettings.of("hog+svm", balance="sampling")


def test_an_svm_is_not_stored(moving, tmp_path):
    with pytest.raises(ModelError, match=r"flow\+svm is evaluated, not stored; use `evaluate`"):
        train(moving, tmp_path, preset="flow+svm", progress=False)
