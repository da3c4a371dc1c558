from espnet2_avsep.report.training_log import read_curves

LINE = "x INFO: {n}epoch results: [train] loss={a}, bce={a}, l1={b}, [valid] loss={b}\n"


def test_a_curve_that_equals_another_is_shown_once(tmp_path):
    """The loss of a training with one criterion was drawn twice."""
    lines = [LINE.format(n=n, a=a, b=9.0) for n, a in ((1, 3.0), (2, 2.5))]
    text = "".join(lines).replace(", [valid] loss=9.0", "")
    (tmp_path / "train.log").write_text(text)
    loss, other = read_curves(tmp_path)
    assert (loss.name, loss.same) == ("loss", ("bce",))
    assert loss.values == {"train": {1: 3.0, 2: 2.5}}
    assert (other.name, other.same) == ("l1", ())


def test_a_curve_of_other_parts_is_another(tmp_path):
    (tmp_path / "train.log").write_text(LINE.format(n=1, a=3.0, b=9.0))
    assert [curve.name for curve in read_curves(tmp_path)] == ["loss", "bce", "l1"]


def test_how_long_a_training_has_been_is_no_curve(tmp_path):
    line = LINE.replace("[valid]", "phase=3.000, cpu_seconds=240.088, [valid]")
    (tmp_path / "train.log").write_text(line.format(n=1, a=3.0, b=9.0))
    assert [curve.name for curve in read_curves(tmp_path)] == ["loss", "bce", "l1"]


def test_epochs_of_a_training_that_was_begun_again_are_not_shown(tmp_path):
    """The curve went on with the later epochs, and other losses, of the first run."""
    old = [LINE.format(n=n, a=n / 10, b=9.0) for n in range(1, 6)]
    (tmp_path / "train.1.log").write_text("".join(old))
    line = "x INFO: {n}epoch results: [train] loss={a}, [valid] loss={b}\n"
    new = [line.format(n=n, a=n, b=8.0) for n in (1, 2)]
    (tmp_path / "train.log").write_text("".join(new))
    (loss,) = read_curves(tmp_path)
    assert loss.values == {"train": {1: 1.0, 2: 2.0}, "valid": {1: 8.0, 2: 8.0}}


def test_a_training_that_went_on_keeps_its_first_epochs(tmp_path):
    line = "x INFO: {n}epoch results: [train] loss={n}.5, [valid] loss=1.0\n"
    first = "".join(line.format(n=n) for n in (1, 2, 3))
    (tmp_path / "train.1.log").write_text(first)
    (tmp_path / "train.log").write_text(line.format(n=3) + line.format(n=4))
    (loss,) = read_curves(tmp_path)
    assert loss.values["train"] == {1: 1.5, 2: 2.5, 3: 3.5, 4: 4.5}
