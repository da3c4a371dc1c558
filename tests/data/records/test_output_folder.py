import os

import pytest

from espnet2_avsep.data.records.output_folder import OutputFolder, protect
from espnet2_avsep.errors import InputError


def run(folder, names, content="x", **options):
    outputs = OutputFolder(folder, "separate", **options)
    outputs.check(names)
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_text(content)
    outputs.add(*names)


def test_only_a_former_run_s_files_are_replaced(tmp_path):
    out = tmp_path / "out"
    run(out, ["a.wav", "b.wav"], "first")
    run(out, ["a.wav", "c.wav"], "second")
    run(out, ["b.wav"], "third")
    (out / "mine.wav").write_text("the user's")
    with pytest.raises(InputError, match=r"mine\.wav: exists.*--overwrite"):
        run(out, ["a.wav", "mine.wav"])
    assert (out / "a.wav").read_text() == "second"
    assert (out / "mine.wav").read_text() == "the user's"
    run(out, ["mine.wav"], "fourth", overwrite=True)
    assert (out / "mine.wav").read_text() == "fourth"
    run(out, ["mine.wav"], "fifth")


def test_a_changed_file_is_the_user_s_again(tmp_path):
    out = tmp_path / "out"
    run(out, ["a.wav", "b.wav"])
    (out / "a.wav").write_text("y")  # of the same size
    os.utime(out / "a.wav", (1, 1))
    with pytest.raises(InputError, match=r"a\.wav: exists"):
        run(out, ["a.wav", "b.wav"])
    (out / ".avsep_separate.json").write_text("{damaged")
    with pytest.raises(InputError, match=r"a\.wav \(and 1 more\): exists"):
        run(out, ["a.wav", "b.wav"])


def test_another_command_s_files_are_not_replaced(tmp_path):
    run(tmp_path / "out", ["a.wav"])
    with pytest.raises(InputError, match="'avsep features'"):
        OutputFolder(tmp_path / "out", "features").check(["a.wav"])


def test_inputs_are_never_replaced(tmp_path):
    """By whatever name, and even with --overwrite or where a former run wrote them."""
    out = tmp_path / "out"
    run(out, ["residual.wav"])
    (tmp_path / "link.wav").symlink_to(out / "residual.wav")
    for given in (out / "residual.wav", tmp_path / "link.wav", out / ".." / "out"):
        inputs = ["text", "\0", tmp_path / "none", given]
        if given.is_dir():
            run(out, ["residual.wav"], inputs=inputs)
            continue
        with pytest.raises(InputError, match="would be overwritten by"):
            run(out, ["new.wav", "residual.wav"], inputs=inputs, overwrite=True)
    assert not (out / "new.wav").exists()


def test_links_and_folders_in_the_way(tmp_path):
    out = tmp_path / "out"
    (out / "a.wav").mkdir(parents=True)
    (out / "b.wav").symlink_to(tmp_path / "nowhere")
    with pytest.raises(InputError, match="is a folder"):
        run(out, ["a.wav"], overwrite=True)
    with pytest.raises(InputError, match=r"b\.wav: exists"):
        run(out, ["b.wav"])


def test_what_is_out_of_date_is_removed_unless_it_was_changed(tmp_path):
    out = tmp_path / "out"
    run(out, ["a.mp4", "b.mp4", "c.wav"])
    (out / "b.mp4").write_text("changed")
    (out / "d.mp4").write_text("the user's")
    outputs = OutputFolder(out, "separate")
    outputs.discard(["a.mp4", "b.mp4", "d.mp4", "none.mp4"])
    names = {".avsep_separate.json", "b.mp4", "c.wav", "d.mp4"}
    assert {path.name for path in out.iterdir()} == names


def test_protect(tmp_path):
    (tmp_path / "a").write_text("x")
    protect([tmp_path / "b"], [tmp_path / "a", tmp_path / "c"])
    with pytest.raises(InputError, match="a: is an input"):
        protect([tmp_path / "b", tmp_path / "." / "a"], [tmp_path / "a"])


def test_left_over_files_of_a_former_run_are_known(tmp_path):
    """Tracks of two runs lay side by side, and nothing said which belong together."""
    out = tmp_path / "out"
    run(out, ["1_a.wav", "2_b.wav", "3_gone.wav", "residual.wav"])
    (out / "3_gone.wav").unlink()
    (out / "mine.wav").write_text("the user's")
    run(out, ["1_a.wav", "residual.wav"])
    outputs = OutputFolder(out, "separate")
    assert outputs.left_over(["1_a.wav", "residual.wav", "new.wav"]) == ["2_b.wav"]
