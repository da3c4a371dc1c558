"""Templates of pages: what is put in is only text."""

from espnet2_avsep.report.render import part


def test_parts_of_the_demo_are_escaped():
    name = "<img src=x onerror=alert(1)> & **b**"
    escaped = "&lt;img src=x onerror=alert(1)&gt; &amp; **b**"
    assert f"<p>Model: {escaped}.</p>" in part("demo.html", "head", [f"Model: {name}."])
    track = part("demo.html", "track", "1_a", name)
    assert track.strip() == f"<p><b>1_a</b>: {escaped}</p>"
    assert part("demo.html", "status", ["2 tracks", name]) == f"2 tracks; {escaped}"
