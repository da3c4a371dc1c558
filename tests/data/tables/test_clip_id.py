import pytest

from espnet2_avsep.data.tables.clip_id import (
    ClipFinder,
    category_key,
    check_id,
    clip_key,
    file_stem,
    split_name,
)
from espnet2_avsep.errors import InputError


@pytest.mark.parametrize(
    ("category", "key"),
    [
        ("acoustic_guitar", "acoustic_guitar"),
        ("cello violin", "cello_violin"),
        ("steel-drum", "steel_drum"),
        ("police car (siren)", "police_car_siren"),
        ("vehicle horn, car horn, honking", "vehicle_horn_car_horn_honking"),
        ("(?)", "_"),
    ],
)
def test_keys_of_categories(category, key):
    assert category_key(category) == key
    assert clip_key(category, "-a_b") == f"{key}--a_b"


def test_parts_of_names():
    assert split_name("/flute/3-zT9mN8Lio.wav") == ["flute", "3-zT9mN8Lio"]
    assert split_name(" ./data/audio/a b/x.MP3 ") == ["data", "audio", "a b", "x"]
    assert split_name("frames/flute/x.mp4") == ["frames", "flute", "x"]
    assert split_name("x.y") == ["x.y"]


@pytest.fixture
def finder():
    keys = ["Church_bell-b0", "Male-m0", "Female-m0", "cat-v0_000030", "cat-v1_000001"]
    keys += ["cat-v1_000040", "Male_voice-n0", "Female_voice-n0"]
    return ClipFinder({key: key.split("-")[0] for key in keys})


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("Church_bell-b0", "Church_bell-b0"),
        ("/Church_bell/b0.wav", "Church_bell-b0"),
        ("Church bell/b0", "Church_bell-b0"),
        ("b0", "Church_bell-b0"),
        ("e/2/b0.wav", "Church_bell-b0"),  # a folder that is no category
        ("Bell/b0.wav", "Church_bell-b0"),  # another word for it
        ("Male/b0.wav", None),  # another category
        ("/Male/m0.wav", "Male-m0"),
        ("Man/m0.wav", None),  # two clips of that video
        ("Male/n0.wav", None),  # a category that others have
        ("Female_voice/n0.wav", "Female_voice-n0"),
        ("cat/v0.wav", "cat-v0_000030"),
        ("v0", "cat-v0_000030"),
        ("cat/v1", None),  # which of the two?
        ("cat/v1_000040", "cat-v1_000040"),
        ("nothing", None),
        ("/", None),
    ],
)
def test_names_in_lists(finder, name, found):
    assert finder.find("list", name) == found


def test_a_name_that_may_be_two(finder):
    with pytest.raises(InputError, match="list, line 3: 'm0' may be Female-m0 or Male"):
        finder.find("list, line 3", "m0")
    assert finder.find_all("v1") == ["cat-v1_000001", "cat-v1_000040"]


NFC, NFD = "fl\u00fbte", "flu\u0302te"


@pytest.mark.parametrize(
    "name, problem",
    [
        ("", "is empty"),
        (" ", "is empty"),
        ("..", "begins with '.'"),
        (".", "begins with '.'"),
        ("/etc/passwd", "has a '/'"),
        ("a/b", "has a '/'"),
        ("a\nb", "control characters"),
        ("a\0b", "control characters"),
        ("a\x85b", "control characters"),
        ("a\u2028b", "control characters"),
        ("a\udc80b", "not UTF-8"),
        (7, "is of type int"),
        (None, "is of type NoneType"),
    ],
)
def test_ids_that_are_refused(name, problem):
    with pytest.raises(InputError, match=f"list.txt, line 3: the id .*{problem}"):
        check_id("list.txt, line 3", name)


@pytest.mark.parametrize("name", ["-0123456789", "a b, (c)", "x" * 300, "किताब", NFC])
def test_ids_that_are_taken_whole(name):
    assert check_id("list", name) == name


def test_one_normal_form_per_id():
    assert check_id("list", NFD) == NFC
    assert clip_key(NFD, NFD) == clip_key(NFC, NFC) == f"{NFC}-{NFC}"
    assert split_name(f"{NFD}/{NFD}.wav") == [NFC, NFC]
    assert ClipFinder({f"{NFC}-a": NFC}).find("list", f"{NFD}/a.wav") == f"{NFC}-a"


@pytest.mark.parametrize(
    "stem, key",
    [
        ("run me.q|", "run_me.q"),
        ("a;b $(c) [1:2]", "a_b_c_1_2"),
        ("(?)", "_"),
        ("-x", "-x"),
        ("किताब", "किताब"),
        ("a\nb", "a_b"),
    ],
)
def test_keys_hold_nothing_that_a_shell_acts_on(stem, key):
    assert clip_key("c", stem) == f"c-{key}"


def test_file_names_are_bounded_and_differ():
    assert file_stem("x" * 200) == "x" * 200
    long = [file_stem(c + "\u00e9" * 250) for c in "ab"]
    assert all(len(stem.encode()) <= 200 for stem in long)
    assert long[0][1:] != long[1][1:]
