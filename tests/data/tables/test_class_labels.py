import pytest

from espnet2_avsep.data.mixing.mix_dataset import MixAndSeparateDataset
from espnet2_avsep.data.tables.class_labels import (
    class_numbers,
    number_sources,
    order_classes,
)
from espnet2_avsep.errors import InputError
from tests.data.clip_corpus import write_corpus


def test_numbers():
    classes = order_classes(["tuba", "flute", "tuba", "piano"])
    assert classes == ["flute", "piano", "tuba"]
    numbers = class_numbers(classes)
    assert numbers == {"flute": 0, "piano": 1, "tuba": 2}
    assert number_sources({"a": ["tuba", "harp"]}, numbers, 4) == {"a": [2, 4]}
    with pytest.raises(InputError, match="b: .*'harp'.*flute, piano, tuba"):
        number_sources({"a": ["tuba"], "b": ["flute", "harp"]}, numbers)


def test_trained_classes_keep_their_numbers():
    trained = ["tuba", "flute"]
    classes = order_classes(["piano", "tuba", "harp"], trained, 4)
    assert classes == ["tuba", "flute", None, None, "harp", "piano"]
    numbers = class_numbers(classes)
    assert numbers == {"tuba": 0, "flute": 1, "harp": 4, "piano": 5}
    assert order_classes(["tuba"], trained, 2) == trained


def test_training_items_have_the_labels_of_their_clips(tmp_path):
    corpus = write_corpus(tmp_path)
    numbers = class_numbers(order_classes(corpus.category.values()))
    labels = {clip: numbers[name] for clip, name in corpus.category.items()}
    dataset = MixAndSeparateDataset(
        **corpus.tables(), segment_samples=4096, conditions={"labels": labels}
    )
    for index in range(len(dataset)):
        key, item = dataset[index]
        for n, clip in enumerate(key.split("+"), 1):
            assert item[f"label_ref{n}"] == numbers[corpus.category[clip]]
