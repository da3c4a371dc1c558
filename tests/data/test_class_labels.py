import pytest
from clip_corpus import write_corpus

from espnet2_avsep.data.class_labels import class_numbers, number_sources
from espnet2_avsep.data.mix_dataset import MixAndSeparateDataset
from espnet2_avsep.errors import InputError


def test_numbers():
    numbers = class_numbers(["tuba", "flute", "tuba", "piano"], 5)
    assert numbers == {"flute": 0, "piano": 1, "tuba": 2}
    found = number_sources({"a": ["tuba", "harp"]}, numbers, 5)
    assert found == {"a": [2, 4]}
    with pytest.raises(InputError, match="num_classes to 4"):
        class_numbers(["tuba", "flute", "piano"], 3)


def test_training_items_have_the_labels_of_their_clips(tmp_path):
    corpus = write_corpus(tmp_path)
    numbers = class_numbers(corpus.category.values(), 4)
    dataset = MixAndSeparateDataset(
        **corpus.tables(), segment_samples=4096, labels=numbers
    )
    for index in range(len(dataset)):
        key, item = dataset[index]
        for n, clip in enumerate(key.split("+"), 1):
            assert item[f"label_ref{n}"] == numbers[corpus.category[clip]]
    tables = {**corpus.tables(), "category": None}
    with pytest.raises(InputError, match="utt2spk"):
        MixAndSeparateDataset(**tables, segment_samples=4096, labels=numbers)
