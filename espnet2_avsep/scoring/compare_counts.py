"""Systems on sets that differ in the number of sources of a mixture."""

from typing import Dict, List, Mapping

from espnet2_avsep.metrics.comparison import MIXTURE, Comparison
from espnet2_avsep.metrics.score_table import METRICS, TITLES, decibel

COLUMNS = (*METRICS, "sdr_i")


def csv_lines(results: Mapping[str, Comparison]) -> List[List[str]]:
    """Return a line for each set and system, the mixture among these.

    Args:
        results: Set -> what its scores say.
    """
    lines = [["set", "sources", "system", "n", *(TITLES[c] for c in COLUMNS)]]
    lines[0] += ["SDRi low", "SDRi high"]
    for name, result in results.items():
        for system in (MIXTURE, *result.systems):
            mean = result.mean[system]
            line = [name, str(result.mixed), system, str(result.common)]
            line += [decibel(mean[c]) if c in mean else "" for c in COLUMNS]
            if system == MIXTURE:
                # The SAR of a sum of references is that of rounding errors.
                line[4 + COLUMNS.index("sar")] = ""
            interval = result.interval[system].get("sdr_i")
            line += [decibel(x) for x in interval] if interval else ["", ""]
            lines.append(line)
    return lines


def table_lines(results: Mapping[str, Comparison]) -> List[List[str]]:
    """Return a line for each system, a column of SDRi for each set.

    The first line is the SDR of the mixtures themselves; "n/a": not scored on a set.
    """
    lines = [["system"]]
    lines[0] += [f"{name}: {r.mixed}" for name, r in results.items()]
    mixtures = [decibel(r.mean[MIXTURE]["sdr"]) for r in results.values()]
    lines.append([f"{MIXTURE} (SDR)", *mixtures])
    for system in all_systems(results):
        cells = []
        for result in results.values():
            if system not in result.mean:
                cells.append("n/a")
                continue
            low, high = result.interval[system]["sdr_i"]
            mean = result.mean[system]["sdr_i"]
            cells.append(f"{decibel(mean)} [{decibel(low)}, {decibel(high)}]")
        lines.append([system, *cells])
    return lines


def all_systems(results: Mapping[str, Comparison]) -> List[str]:
    """Return the systems of all sets, each once."""
    return list(dict.fromkeys(s for r in results.values() for s in r.systems))


def curves(results: Mapping[str, Comparison]) -> Dict[str, List[List[float]]]:
    """Return what is to be drawn: system -> [sources, SDRi, low, high] for each set."""
    return {
        system: [
            [
                result.mixed,
                result.mean[system]["sdr_i"],
                *result.interval[system]["sdr_i"],
            ]
            for result in results.values()
            if system in result.mean
        ]
        for system in all_systems(results)
    }
