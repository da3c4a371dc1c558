"""utils/corpus.sh: what the note at the top of RESULTS.md says of a corpus."""

import pytest
from shell_tools import ROOT, UTILS, run, write


def note(folder, **variables):
    """The note in a recipe's folder with these options and variables."""
    names = {"corpus": "", "corpus_note": "", **variables}
    head = "".join(f"{name}='{value}'; " for name, value in names.items())
    script = f"{head}. {UTILS}/corpus.sh; set_corpus_dir; set_corpus_note\n"
    result = run("bash", "-euc", script + 'echo "${corpus_note}"', cwd=folder)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


@pytest.fixture
def recipe(tmp_path):
    folder = tmp_path / "egs2" / "mini_music"
    real, generated = folder / "my music", folder / "downloads" / "mini_music"
    write(real / "README.txt", "My recordings.\n")
    write(generated / "README.txt", "A generated mini corpus. This is NOT ...\n")
    return folder


def test_a_real_corpus_in_the_mini_recipe_is_not_called_generated(recipe):
    assert note(recipe).startswith("Generated corpus: ")
    assert note(recipe, corpus="music", MUSIC="my music") == ""
    assert note(recipe, corpus="music") == ""
    assert "--corpus_note" not in (ROOT / "egs2/mini_music/run.sh").read_text()


def test_a_generated_corpus_is_not_taken_for_music(recipe):
    found = note(recipe, corpus="music", MUSIC="downloads/mini_music")
    assert found.startswith("Generated corpus: ")
    assert note(recipe, corpus_note="A toy.") == "A toy."


def test_the_generator_writes_what_is_looked_for():
    source = ROOT / "espnet2_avsep" / "corpus" / "mini_music" / "corpus.py"
    assert '"A generated mini corpus. ' in source.read_text()
