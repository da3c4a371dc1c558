"""Read a RESULTS.md, which goes with a model wherever the model goes."""

from typing import Any, Dict, List


def read_sections(results: str) -> Dict[str, str]:
    """Split RESULTS.md at its headings; what stands before the first is under ""."""
    found, name, fenced = {"": ""}, "", False
    for line in results.splitlines():
        fenced ^= line.startswith("```")
        if line.startswith("## ") and not fenced:
            name = line[3:].strip()
            found[name] = ""
        elif not line.startswith("# ") or fenced:
            found[name] += line + "\n"
    return {key: text.strip() for key, text in found.items()}


def read_table(text: str, first: str) -> List[Dict[str, str]]:
    """Return the rows of the Markdown table whose first column is called ``first``.

    Returns:
        Column -> cell, of each row; empty where there is no such table.
    """
    rows: List[List[str]] = []
    for line in text.splitlines():
        if line.startswith("|"):
            rows.append([cell.strip() for cell in line.strip().strip("|").split("|")])
        elif rows and rows[0][0] == first:
            break
        else:
            rows = []
    if len(rows) < 2 or rows[0][0] != first:
        return []
    header, _, *body = rows
    return [dict(zip(header, row, strict=False)) for row in body]


def summary(results: str) -> Dict[str, Any]:
    """Return what RESULTS.md says of a model's corpus and quality.

    Returns:
        note: what the corpus is not, or "". corpus: a line per set. scores: the rows of
        the first table, one per set, validation last. instruments: set -> its rows, one
        per instrument. weights: what it says of the file that was scored, or "".
    """
    sections = read_sections(results)
    marked = [x for x in sections[""].splitlines() if x.startswith("**")]
    heads = ("* model: ", "* SHA-256 of the weights: ")
    weights = [
        line.removeprefix(heads[0]).replace(heads[1], "SHA-256 ")
        for line in sections.get("Experiment", "").splitlines()
        if line.startswith(heads)
    ]
    instruments = {name: read_table(x, "instrument") for name, x in sections.items()}
    # Validation, by which the model was chosen, comes after the tests.
    names = sorted(instruments, key=lambda name: name.startswith("valid"))
    scores = read_table(results, "set")
    scores.sort(key=lambda row: row["set"].startswith("valid"))
    return {
        "note": " ".join(marked).replace("**", ""),
        "corpus": [
            line.removeprefix("* ")
            for line in sections.get("Corpus", "").splitlines()
            if line.startswith("* ")
        ],
        "scores": scores,
        "instruments": {n: instruments[n] for n in names if instruments[n]},
        "weights": ", ".join(weights),
    }
