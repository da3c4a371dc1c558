import kaldiio
import numpy as np
import pytest
import soundfile

from espnet2_avsep.data.segment_reader import (
    audio_info,
    is_finite,
    is_silent,
    matrix_shape,
    nearest_row,
    read_matrix,
    read_row,
    read_rows,
    read_segment,
    read_shape,
    rows_in_segment,
)
from espnet2_avsep.errors import InputError


@pytest.fixture
def samples():
    return np.random.default_rng(0).integers(-(2**15), 2**15, 5000, dtype=np.int16)


@pytest.mark.parametrize("extension", ["wav", "flac"])
@pytest.mark.parametrize("start, num", [(0, 5000), (0, 1), (1234, 777), (4999, 1)])
def test_segment_has_the_very_samples(tmp_path, samples, extension, start, num):
    path = tmp_path / f"a.{extension}"
    soundfile.write(path, samples, 11625, subtype="PCM_16")
    segment = read_segment(str(path), start, num)
    assert segment.dtype == np.float32
    np.testing.assert_array_equal(segment, samples[start : start + num] / 2.0**15)


@pytest.mark.parametrize(
    "options",
    [
        {"subtype": "PCM_16"},  # as stage 3 writes it: read without libsndfile
        {"subtype": "PCM_16", "format": "WAVEX"},
        {"subtype": "PCM_16", "format": "RF64"},
        {"subtype": "PCM_24"},
        {"subtype": "FLOAT"},
        {"subtype": "PCM_U8"},
    ],
)
def test_kinds_of_wav(tmp_path, samples, options):
    path = tmp_path / "a.wav"
    with soundfile.SoundFile(path, "w", 11625, 1, **options) as f:
        f.write(samples)
    segment = read_segment(str(path), 1234, 777)
    expected, _ = soundfile.read(path, dtype="float32")
    np.testing.assert_array_equal(segment, expected[1234:2011])


def test_wav_with_a_chunk_before_the_data(tmp_path, samples):
    path = tmp_path / "a.wav"
    soundfile.write(path, samples, 11625, subtype="PCM_16")
    plain = path.read_bytes()
    chunk = b"LIST" + (26).to_bytes(4, "little") + b"INFOISFT\x0e\0\0\0Lavf58.76.100\0"
    size = (len(plain) - 8 + len(chunk)).to_bytes(4, "little")
    path.write_bytes(b"RIFF" + size + plain[8:36] + chunk + plain[36:])
    segment = read_segment(str(path), 1234, 777)
    np.testing.assert_array_equal(segment, samples[1234:2011] / 2.0**15)


def test_segment_to_the_end(tmp_path, samples):
    path = tmp_path / "a.wav"
    soundfile.write(path, samples, 11625, subtype="PCM_16")
    assert len(read_segment(path)) == 5000
    assert len(read_segment(path, 4000)) == 1000
    assert audio_info(path) == (5000, 11625)


@pytest.mark.parametrize("start, num", [(0, 5001), (4500, 501), (-1, 10), (0, 0)])
def test_segment_beyond_the_file(tmp_path, samples, start, num):
    path = tmp_path / "a.wav"
    soundfile.write(path, samples, 11625, subtype="PCM_16")
    with pytest.raises(InputError, match="a.wav.*the file has 5000"):
        read_segment(str(path), start, num)


def test_truncated_wav(tmp_path, samples):
    path = tmp_path / "a.wav"
    soundfile.write(path, samples, 11625, subtype="PCM_16")
    path.write_bytes(path.read_bytes()[:4000])
    assert len(read_segment(str(path), 0, 1000)) == 1000
    with pytest.raises(InputError, match="a.wav"):
        read_segment(str(path), 0, 5000)


def test_truncated_flac(tmp_path, samples):
    path = tmp_path / "a.flac"
    soundfile.write(path, samples, 11625, subtype="PCM_16")
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(InputError, match="a.flac"):
        read_segment(str(path), 0, 5000)


@pytest.mark.parametrize("content", [b"", b"not audio at all" * 100])
def test_unreadable_audio(tmp_path, content):
    path = tmp_path / "a.wav"
    path.write_bytes(content)
    for read in (read_segment, audio_info):
        with pytest.raises(InputError, match="a.wav: cannot be read"):
            read(str(path))


def test_missing_audio(tmp_path):
    for read in (read_segment, audio_info):
        with pytest.raises(InputError, match="none.wav: cannot be read .no such file"):
            read(str(tmp_path / "none.wav"))


def test_stereo_is_refused(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, np.zeros((100, 2)), 11625)
    for read in (read_segment, audio_info):
        with pytest.raises(InputError, match="2 channels"):
            read(str(path))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_samples_that_are_not_finite(tmp_path, value):
    path = tmp_path / "a.wav"
    data = np.zeros(1000, np.float32)
    data[700] = value
    soundfile.write(path, data, 11625, subtype="FLOAT")
    assert len(read_segment(str(path), 0, 700)) == 700
    with pytest.raises(InputError, match="a.wav: NaN or infinite samples"):
        read_segment(str(path), 600, 200)


def test_finite_although_the_sum_overflows():
    assert is_finite(np.full(10, 3e38, np.float32))
    assert not is_finite(np.array([np.inf, -np.inf], np.float32))


def test_silence_threshold():
    level = 10 ** (-60 / 20)
    time = np.arange(8000)
    tone = np.sqrt(2) * level * np.sin(2 * np.pi * time / 80)
    assert is_silent((0.99 * tone).astype(np.float32), -60.0)
    assert not is_silent((1.01 * tone).astype(np.float32), -60.0)
    assert is_silent(np.zeros(10, np.float32), -200.0)
    assert not is_silent(np.zeros(10, np.float32), -np.inf)


def test_rows_of_a_segment_against_the_definition():
    rng = np.random.default_rng(0)
    for _ in range(2000):
        num_samples = int(rng.integers(10, 200))
        num_rows = int(rng.integers(1, 15))
        num = int(rng.integers(1, num_samples + 1))
        start = int(rng.integers(0, num_samples - num + 1))
        # Times in units of 1 / (2 num_rows) sample: integers, so that nothing rounds.
        times = (2 * np.arange(num_rows) + 1) * num_samples
        inside = np.flatnonzero(
            (times >= start * 2 * num_rows) & (times < (start + num) * 2 * num_rows)
        )
        first, last = rows_in_segment(start, num, num_samples, num_rows)
        distance = np.abs(times - (2 * start + num) * num_rows)
        if len(inside):
            assert list(range(first, last)) == list(inside)
        else:
            assert last == first + 1
            assert distance[first] == distance.min()
        row = nearest_row(start, num, num_samples, num_rows)
        assert distance[row] == distance.min()


@pytest.fixture
def matrix():
    return np.random.default_rng(1).normal(size=(7, 5)).astype(np.float32)


def save(tmp_path, matrix, **options):
    base = f"{tmp_path}/v"
    text = "t," if options.pop("text", False) else ""
    with kaldiio.WriteHelper(
        f"ark,{text}scp:{base}.ark,{base}.scp", **options
    ) as writer:
        writer["first"] = np.zeros((3, 5), matrix.dtype)
        writer["second"] = matrix
    with open(f"{base}.scp") as f:
        return dict(line.split() for line in f)["second"]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_of_an_ark(tmp_path, matrix, dtype):
    ref = save(tmp_path, matrix.astype(dtype))
    assert matrix_shape(ref) == (7, 5)
    np.testing.assert_array_equal(read_matrix(ref), matrix)
    for row in range(7):
        values = read_row(ref, row)
        assert values.dtype == np.float32
        np.testing.assert_array_equal(values, matrix[row])
    np.testing.assert_array_equal(read_rows(ref, [6, 0, 0]), matrix[[6, 0, 0]])


@pytest.mark.parametrize(
    "options", [{"text": True}, *({"compression_method": m} for m in (2, 3, 5))]
)
def test_other_types_of_matrix_through_kaldiio(tmp_path, matrix, options):
    ref = save(tmp_path, matrix, **options)
    expected = kaldiio.load_mat(ref)
    assert matrix_shape(ref) == (7, 5)
    np.testing.assert_array_equal(read_matrix(ref), expected)
    np.testing.assert_array_equal(read_rows(ref, [6, 2]), expected[[6, 2]])


def test_range_of_rows_in_a_reference(tmp_path, matrix):
    ref = save(tmp_path, matrix) + "[2:4]"
    assert matrix_shape(ref) == (3, 5)
    np.testing.assert_array_equal(read_row(ref, 1), matrix[3])


def test_vector_is_a_matrix_of_one_row(tmp_path, matrix):
    ref = save(tmp_path, matrix[0])
    assert matrix_shape(ref) == (1, 5)
    np.testing.assert_array_equal(read_row(ref, 0), matrix[0])


def test_npy_file(tmp_path, matrix):
    path = str(tmp_path / "a.npy")
    np.save(path, matrix)
    assert matrix_shape(path) == (7, 5)
    np.testing.assert_array_equal(read_row(path, 3), matrix[3])


def test_only_the_row_is_read(tmp_path, matrix):
    """An ark that is cut off still gives the rows before the cut."""
    ref = save(tmp_path, matrix)
    path = ref.rpartition(":")[0]
    with open(path, "r+b") as f:
        f.truncate(int(ref.rpartition(":")[2]) + 15 + 4 * 5 * 3)
    np.testing.assert_array_equal(read_row(ref, 2), matrix[2])
    for read in (lambda: read_row(ref, 3), lambda: read_matrix(ref)):
        with pytest.raises(InputError, match="v.ark.*ends within the matrix"):
            read()


@pytest.mark.parametrize("row", [-1, 7])
def test_row_that_is_not_there(tmp_path, matrix, row):
    with pytest.raises(InputError, match=f"row {row} was asked for, the matrix has 7"):
        read_row(save(tmp_path, matrix), row)


def test_visual_values_that_are_not_finite(tmp_path, matrix):
    matrix[4, 1] = np.nan
    ref = save(tmp_path, matrix)
    read_row(ref, 3)
    for read in (lambda: read_row(ref, 4), lambda: read_matrix(ref)):
        with pytest.raises(InputError, match="v.ark.*NaN or infinite"):
            read()


def test_references_that_cannot_be_read(tmp_path):
    (tmp_path / "empty.ark").write_bytes(b"")
    (tmp_path / "noise.ark").write_bytes(b"\x01\x02\x03" * 50)
    (tmp_path / "pickle.ark").write_bytes(b"PKL" + b"\0" * 50)
    for ref, message in (
        ("none.ark:5", "no such file"),
        ("empty.ark:5", "nothing is there"),
        ("noise.ark:5", "cannot be read"),
        ("pickle.ark", "a pickle is there"),
    ):
        for read in (matrix_shape, read_matrix, lambda r: read_row(r, 0)):
            with pytest.raises(InputError, match=message):
                read(f"{tmp_path}/{ref}")
    with pytest.raises(InputError, match="is a command, not a file"):
        read_row("cat v.ark |", 0)


def test_shape_of_a_clip(tmp_path, samples, matrix):
    path = tmp_path / "a.wav"
    soundfile.write(path, samples, 11625)
    assert read_shape(str(path), save(tmp_path, matrix)) == (5000, 7)
