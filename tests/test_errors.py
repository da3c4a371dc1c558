"""Messages hold what somebody else has chosen: names, values of a model's config."""

from espnet2_avsep.errors import InputError, shown


def test_messages_send_no_control_sequences_to_the_terminal():
    error = InputError("a.yaml: mask_max is \x1b[31m\0\x9b\r;\n\texpected 1 é\u2026")
    assert str(error) == (
        "a.yaml: mask_max is \\x1b[31m\\x00\\x9b\\x0d;\n\texpected 1 é\u2026"
    )


def test_long_values_are_cut():
    assert len(str(InputError("x" * 10_000))) <= 4000
    assert len(shown([["y" * 1000]] * 1000)) <= 200
