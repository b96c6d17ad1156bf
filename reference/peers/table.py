"""The table in docs/performance.md."""

BEGIN, END = "<!-- peers: begin -->", "<!-- peers: end -->"


def ratio(result, results):
    """How much longer a peer takes than Calotype at the same precision; none for ours, or when there is nothing to compare."""
    if result["program"] == "Calotype":
        return None
    ours = [r for r in results if r["program"] == "Calotype"]
    same = next((r for r in ours if r["precision"] == result["precision"]), None)
    return result["median"] / same["median"] if same and same["median"] > 0 else None


def best_ratio(result, results):
    """The same against Calotype's fastest precision."""
    ours = [r["median"] for r in results if r["program"] == "Calotype" and r["median"] > 0]
    return result["median"] / min(ours) if ours and result["program"] != "Calotype" else None


def markdown(report):
    machine, versions = report["machine"], report["versions"]
    lines = [
        f"{report['date']}, {machine['cpu']} (family and model {machine['family_model']}), {report['threads']} threads, "
        f"{machine['memory_gb']} GB, {machine['system']}; instruction sets: {', '.join(machine['instruction_sets'])}.",
        "Versions: " + ", ".join(f"{name} {version}" for name, version in versions.items()) + ".",
        f"Medians of {report['rounds']} rounds in which all take turns, after a warm-up (one round for those over "
        f"{report['slow_seconds']:g} s); ×: how much longer than Calotype in the same precision, and than its fastest.",
        "",
        "| work | program | median | min … max | × Calotype, same precision | × Calotype, fastest | peak memory |",
        "|---|---|---|---|---|---|---|",
    ]
    for work in report["works"]:
        title = work["title"] + (", start until the first step" if work["id"].startswith("txt2img") else "")
        for result in sorted(work["results"], key=lambda r: r["median"]):
            name = result["contender"]
            lines.append(
                f"| {title} | {'**' + name + '**' if result['program'] == 'Calotype' else name} "
                f"| {result['median']:.3g} s | {result['min']:.3g} … {result['max']:.3g} "
                f"| {times(ratio(result, work['results']))} | {times(best_ratio(result, work['results']))} "
                f"| {memory(result)} |"
            )
            title = ""
    skipped = [f"- {work['title']}: {name} skipped, {why}" for work in report["works"] for name, why in work["skipped"].items()]
    return "\n".join(lines + ([""] + skipped if skipped else []))


def times(factor):
    return "–" if factor is None else f"{factor:.2f}×"


def memory(result):
    peak = result["peak_memory_bytes"]
    return "–" if peak is None else f"{peak / 1e9:.2f} GB"


def replace(text, table, chart):
    """`text` with what is between the markers replaced; the markers are added at the end when there are none."""
    block = f"{BEGIN}\n\n{table}\n\n![The same as bars]({chart})\n\n{END}"
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if begin and end:
        return before + block + after
    return f"{text.rstrip()}\n\n## Beside its peers\n\n{block}\n"
