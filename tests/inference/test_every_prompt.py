"""What every type of prompt must do, whatever it asks with: one suite over all."""

import subprocess
import sys

import numpy as np
import pytest

from espnet2_avsep.errors import InputError
from espnet2_avsep.inference.prompt_reader import PromptReader
from espnet2_avsep.inference.prompts import PROMPT_TYPES, During, Mean
from espnet2_avsep.inference.query import RULE, parse_queries
from tests.support.media_fixtures import tone, write_video

DIM = 3
WITH_TEXT_FORM = {name: cls for name, cls in PROMPT_TYPES.items() if cls.prefix}
every_form = pytest.mark.parametrize("cls", WITH_TEXT_FORM.values(), ids=WITH_TEXT_FORM)


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    path = tmp_path_factory.mktemp("video") / "count.mp4"
    return write_video(path, frames=20, fps=10, audio=tone(2, 22050))


def embed(images):
    return np.array([[i.mean(), i.shape[0], i.shape[1]] for i in images], np.float32)


def embed_texts(texts):
    return np.array([[len(text), 1.0, 2.0] for text in texts], np.float32)


def pack(images):
    return np.stack([np.full((3, 4, 4), i.mean(), np.uint8) for i in images])


def parse(query, video):
    return parse_queries([query], video)[0]


@every_form
def test_its_text_form_is_read_and_explained(cls, video):
    assert cls.rule.startswith(cls.prefix) and cls.example.startswith(cls.prefix)
    assert all(f"  {line}" in RULE.splitlines() for line in cls.rule.splitlines())
    query = parse(cls.example, video)
    assert type(query.prompt) is cls and query.kind == cls.kind
    assert query.encodes == cls.encodes and query.name.startswith("1_")


@every_form
def test_prefixes_do_not_hide_one_another(cls):
    others = [other.prefix for other in WITH_TEXT_FORM.values() if other is not cls]
    assert not any(cls.prefix.startswith(other) for other in others)


@every_form
def test_a_prefix_that_is_nearly_right_is_an_error(cls, video):
    wrong = f" {cls.prefix.upper()}{cls.example.removeprefix(cls.prefix)}"
    with pytest.raises(InputError, match=f"expected '{cls.prefix}'"):
        parse(wrong, video)


@every_form
def test_a_query_without_content_is_an_error(cls, video):
    with pytest.raises(InputError, match="--query"):
        parse(cls.prefix, video)


@every_form
def test_a_model_of_embeddings_gets_one_row(cls, video):
    prompt = parse(cls.example, video).prompt
    reader = PromptReader([prompt], DIM, embed, embed_texts)
    rows = [reader(begin, begin + 0.5) for begin in (0.0, 0.5, 1.5)]
    for row in rows:
        assert row.shape == (1, DIM) and np.isfinite(row).all()


@every_form
def test_a_model_of_pictures_gets_a_picture_or_an_error(cls, video):
    prompt = parse(cls.example, video).prompt
    if cls.encodes == "pictures":
        read = PromptReader([prompt], None, pack, None)
        assert read(0.0, 1.0).shape == (1, 3, 4, 4)
    else:
        with pytest.raises(InputError, match="prompt 1"):
            PromptReader([prompt], None, pack, None)


@every_form
def test_it_can_be_averaged_and_limited_to_spans(cls, video):
    prompt = parse(cls.example, video).prompt
    limited = parse(f"{cls.example}@0-1", video).prompt
    assert isinstance(limited, During) and limited.prompt == prompt
    reader = PromptReader(
        [prompt, Mean([prompt, prompt]), limited], DIM, embed, embed_texts
    )
    rows = reader(0.0, 1.0)
    np.testing.assert_allclose(rows[1:], np.repeat(rows[:1], 2, axis=0), rtol=1e-6)
    assert reader.spans == [None, None, ((0.0, 1.0),)]


@every_form
def test_files_that_it_names_are_known(cls, video):
    prompt = parse(cls.example, video).prompt
    assert set(prompt.files()) <= {video}
    assert Mean([prompt]).files() == During(prompt, [(0, 1)]).files() == prompt.files()


def test_types_of_prompts_import_fast():
    code = "import sys; import espnet2_avsep.inference.prompts; print(*sys.modules)"
    command = [sys.executable, "-c", code]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert not {"torch", "numpy", "av", "PIL"} & set(found.split())


def test_types_are_exported():
    import espnet2_avsep

    for name, cls in PROMPT_TYPES.items():
        assert getattr(espnet2_avsep, name) is cls
