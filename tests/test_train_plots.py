"""The training curves."""

from matplotlib.figure import Figure

from wheatear.train.plots import LINES, metric_names, plot_history, plot_metric

# As of a stage of which part is kept: validated once, at the end.
ROWS = [
    {"epoch": 1, "seconds": 2, "lr": 0.1, "train_loss": 0.5},
    {"epoch": 2, "seconds": 4, "lr": 0.1, "train_loss": 0.4, "val_kaggle": 0.7},
]


def test_the_metrics_of_any_epoch():
    assert metric_names(ROWS) == ["kaggle", "loss"]
    assert metric_names([]) == []


def test_a_figure_measured_once_is_a_dot():
    loss, kaggle = Figure().subplots(1, 2)
    plot_metric(loss, ROWS, "loss", LINES)
    plot_metric(kaggle, ROWS, "kaggle", LINES)
    (line,), (dot,) = loss.lines, kaggle.lines
    assert (line.get_marker(), list(line.get_xdata()), list(line.get_ydata())) == ("", [1, 2], [0.5, 0.4])
    assert (dot.get_marker(), list(dot.get_xdata()), list(dot.get_ydata())) == ("o", [2], [0.7])
    low, high = kaggle.get_xlim()
    assert [tick for tick in kaggle.get_xticks() if low <= tick <= high] == [2]


def test_a_panel_for_each_metric(tmp_path):
    plot_history(ROWS, tmp_path / "history.png", "blend: joint")
    assert (tmp_path / "history.png").read_bytes().startswith(b"\x89PNG")
