"""The chart: bars in plain SVG, readable on light and on dark."""

from xml.sax.saxutils import escape

from peers.table import best_ratio, ratio

WIDTH, LABELS, RIGHT = 900, 200, 170
ROW, BAR, TITLE, GAP, TOP, BOTTOM = 22, 15, 30, 16, 62, 30
STYLE = """
  .page { fill: #ffffff } text { font: 13px system-ui, "Segoe UI", Helvetica, Arial, sans-serif; fill: #1f2328 }
  .heading { font-size: 17px; font-weight: 600 } .title { font-size: 14px; font-weight: 600 }
  .small { font-size: 12px; fill: #59636e } .ours { fill: #0f766e } .peer { fill: #9aa4b1 } .strong { font-weight: 600 }
  .axis { stroke: #d1d9e0 }
  @media (prefers-color-scheme: dark) {
    .page { fill: #0d1117 } text { fill: #e6edf3 } .small { fill: #9198a1 }
    .ours { fill: #2dd4bf } .peer { fill: #59636e } .axis { stroke: #3d444d }
  }
"""


def svg(report):
    """Horizontal bars of seconds, one group for each work, each with its own scale: shorter is faster."""
    body, y = [], TOP
    for work in report["works"]:
        if work["results"]:
            y = group(body, y, work)
    height = y + BOTTOM
    machine = report["machine"]
    subtitle = f"{machine['cpu']}, {report['threads']} threads, {report['date']}; medians of {report['rounds']} rounds in turns"
    head = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" role="img">',
        "<title>Calotype beside its peers</title>",
        f"<style>{STYLE}</style>",
        f'<rect class="page" width="{WIDTH}" height="{height}" rx="8"/>',
        text(20, 28, "Seconds, less is better", "heading"),
        text(20, 47, subtitle, "small"),
    ]
    foot = [text(20, height - 12, "×: how much longer than Calotype in the same precision; in brackets: than its fastest", "small")]
    return "\n".join([*head, *body, *foot, "</svg>"]) + "\n"


def group(body, y, work):
    """Adds the bars of one work at `y`; gives the place below them."""
    results = sorted(work["results"], key=lambda r: r["median"])
    start = " (start until the first step, less a step)" if work["id"].startswith("txt2img") else ""
    body.append(text(20, y + 17, work["title"] + start, "title"))
    top = y = y + TITLE
    scale = (WIDTH - LABELS - RIGHT) / max(r["median"] for r in results)
    for result in results:
        ours = result["program"] == "Calotype"
        length = max(1.0, result["median"] * scale)
        body.append(text(LABELS - 8, y + 12, result["contender"], "strong" if ours else "", "end"))
        body.append(f'<rect class="{"ours" if ours else "peer"}" x="{LABELS}" y="{y}" width="{length:.1f}" height="{BAR}" rx="2"/>')
        body.append(text(LABELS + length + 6, y + 12, value(result, results), "strong" if ours else ""))
        y += ROW
    body.append(f'<line class="axis" x1="{LABELS}" y1="{top - 4}" x2="{LABELS}" y2="{y - 3}"/>')
    return y + GAP


def value(result, results):
    same, best = ratio(result, results), best_ratio(result, results)
    factors = [f"{same:.2f}×"] if same else []
    factors += [f"({best:.2f}×)"] if best and (same is None or abs(best - same) > 0.005) else []
    return ", ".join([f"{result['median']:.3g} s", *[" ".join(factors)] * bool(factors)])


def text(x, y, content, style="", anchor=""):
    attributes = (f' class="{style}"' if style else "") + (f' text-anchor="{anchor}"' if anchor else "")
    return f'<text x="{x:.1f}" y="{y}"{attributes}>{escape(content)}</text>'
