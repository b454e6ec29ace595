"""The frame that the model card and the drift report share: one HTML file that asks for nothing from anywhere.

No script, no font, no image, no link is loaded; a Content-Security-Policy in the page says so to the browser. Called
by `card` and `drift`.
"""

from __future__ import annotations

from .markup import Child, Html, join, tag

POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"

STYLE = Html("""
:root{color-scheme:light dark;--ink:#1b2330;--soft:#5b6675;--faint:#8b95a3;--line:#e3e7ed;--paper:#fff;--ground:#f6f7f9;
--accent:#2b62c9;--accent-soft:#dbe6fa;--second:#c4691c;--third:#1f8a7a;--fourth:#7c53b5;--grey:#b4bdc9;
--good:#17733f;--good-soft:#e0f3e7;--bad:#b3261e;--bad-soft:#fbe6e4;--unsure:#8a5a00;--unsure-soft:#fcf0d4}
@media (prefers-color-scheme:dark){:root{--ink:#e6eaf0;--soft:#a4aebb;--faint:#77828f;--line:#2b323c;--paper:#171c23;
--ground:#0f1318;--accent:#7aa5f5;--accent-soft:#22345a;--second:#e79a58;--third:#5cc3b2;--fourth:#b596e6;--grey:#56606d;
--good:#6fd199;--good-soft:#14301f;--bad:#f28b82;--bad-soft:#3b1a18;--unsure:#e8bd5c;--unsure-soft:#352a10}}
*{box-sizing:border-box}
body{margin:0;background:var(--ground);color:var(--ink);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,"DejaVu Sans",sans-serif}
main{max-width:1020px;margin:0 auto;padding:32px 20px 56px}
header .kind{font-size:12px;letter-spacing:.09em;text-transform:uppercase;color:var(--faint);margin:0}
h1{font-size:30px;line-height:1.2;margin:4px 0 6px;letter-spacing:-.015em;overflow-wrap:anywhere}
header .sub{margin:0 0 20px;color:var(--soft);overflow-wrap:anywhere}
h2{font-size:17px;margin:0 0 4px;letter-spacing:-.005em}
h3{font-size:13px;margin:0 0 8px;font-weight:600;overflow-wrap:anywhere}
h3 small{font-weight:400;color:var(--soft)}
p{margin:0 0 10px}.lead{color:var(--soft);font-size:14px;margin:0 0 14px;max-width:75ch}
.verdict{border:1px solid var(--line);border-left:4px solid var(--grey);background:var(--paper);border-radius:8px;
padding:14px 18px;margin:0 0 20px;font-size:16px}
.verdict.good{border-left-color:var(--good)}.verdict.bad{border-left-color:var(--bad)}
.verdict.unsure{border-left-color:var(--unsure)}.verdict p{margin:2px 0 0;color:var(--soft);font-size:14px}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:12px;margin:0 0 20px}
.tile{background:var(--paper);border:1px solid var(--line);border-radius:8px;padding:12px 16px}
.tile b{display:block;font-size:22px;font-weight:600;letter-spacing:-.01em;font-variant-numeric:tabular-nums}
.tile span{color:var(--soft);font-size:13px}
section{background:var(--paper);border:1px solid var(--line);border-radius:8px;padding:20px 22px;margin:0 0 20px}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:14px}
th{font-weight:600;color:var(--soft);font-size:12.5px;text-align:left;
border-bottom:1px solid var(--line);padding:6px 10px}
td{border-bottom:1px solid var(--line);padding:7px 10px;vertical-align:middle;overflow-wrap:anywhere}
tbody tr:last-child td{border-bottom:0}
th:first-child,td:first-child{padding-left:0}th:last-child,td:last-child{padding-right:0}
.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
td small{color:var(--soft);display:block;font-size:12.5px;line-height:1.4}
.badge{display:inline-block;border-radius:999px;padding:1px 9px;font-size:12.5px;font-weight:600;white-space:nowrap}
.good.badge{background:var(--good-soft);color:var(--good)}.bad.badge{background:var(--bad-soft);color:var(--bad)}
.unsure.badge{background:var(--unsure-soft);color:var(--unsure)}
.quiet.badge{background:var(--ground);color:var(--soft);border:1px solid var(--line)}
dl{display:grid;grid-template-columns:max-content 1fr;gap:5px 20px;margin:0;font-size:14px}
dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}
code{font:12.5px/1.45 ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;overflow-wrap:anywhere}
.plots{display:grid;grid-template-columns:repeat(auto-fill,minmax(290px,1fr));gap:22px 26px}
figure{margin:0;min-width:0}svg{display:block;width:100%;height:auto;overflow:visible}
svg text{font-size:11px;fill:var(--soft);font-family:inherit}svg .strong{fill:var(--ink)}
.grid{stroke:var(--line);stroke-width:1}.axis{stroke:var(--grey);stroke-width:1}
.dash{stroke:var(--faint);stroke-width:1;stroke-dasharray:4 3;fill:none}
.curve{fill:none;stroke-width:1.9;stroke-linejoin:round}
.s0{stroke:var(--accent)}.s1{stroke:var(--second)}
.s2{stroke:var(--third)}.s3{stroke:var(--fourth)}.s4{stroke:var(--faint)}
.f0{fill:var(--accent)}.f1{fill:var(--second)}.f2{fill:var(--third)}.f3{fill:var(--fourth)}.f4{fill:var(--faint)}
.soft{fill:var(--grey);opacity:.55}.hot{fill:var(--second)}.band{fill:var(--accent-soft)}
.fgood{fill:var(--good)}.fbad{fill:var(--bad)}.funsure{fill:var(--unsure)}.fquiet{fill:var(--accent)}
.wide{min-width:240px}td:first-child{min-width:110px}.limit{stroke:var(--ink);stroke-width:1.5}
.legend{font-size:12.5px;color:var(--soft);margin:6px 0 0;display:flex;flex-wrap:wrap;gap:2px 14px}
.legend i{display:inline-block;width:10px;height:10px;border-radius:2px;margin-right:5px;vertical-align:-1px}
.legend .f0{background:var(--accent)}.legend .f1{background:var(--second)}.legend .f2{background:var(--third)}
.legend .f3{background:var(--fourth)}.legend .f4{background:var(--faint)}.legend .soft{background:var(--grey)}
.matrix{width:auto}.matrix td,.matrix th{padding:8px 14px;text-align:right;border:1px solid var(--line)}
.matrix th:first-child{text-align:left}.matrix td small{font-size:11.5px}
ul{margin:0;padding-left:18px}li{margin:0 0 5px;overflow-wrap:anywhere}
footer{color:var(--faint);font-size:12.5px;margin-top:6px;overflow-wrap:anywhere}
@media (max-width:560px){dl{grid-template-columns:1fr;gap:0}dd{margin-bottom:8px}h1{font-size:24px}
section{padding:16px}}
@media print{:root{--ground:#fff}body{font-size:12px}main{max-width:none;padding:0}
section,figure,.verdict{break-inside:avoid}
section,.verdict,.tile{border-color:#ccc}*{-webkit-print-color-adjust:exact;print-color-adjust:exact}}
""")


def page(kind: str, title: str, subtitle: Child, *body: Child, footer: str = "") -> bytes:
    """Return the whole document as UTF-8; `kind` stands small over the title."""
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name="viewport", content="width=device-width,initial-scale=1"),
        tag("title", f"{title} | {kind}"),
        tag("style", STYLE),
    )
    top = tag(
        "header", tag("p", f"Fairlead · {kind}", class_="kind"), tag("h1", title), tag("p", subtitle, class_="sub")
    )
    main = tag("main", top, *body, tag("footer", footer) if footer else None)
    return join(Html("<!doctype html>\n"), tag("html", head, tag("body", main), lang="en")).encode()


def verdict(tone: str, headline: str, detail: str) -> Html:
    """Return the one sentence that a reader in a hurry needs, and one line more."""
    return tag("div", tag("strong", headline), tag("p", detail) if detail else None, class_=f"verdict {tone}")


def tiles(values: list[tuple[str, str]]) -> Html:
    """Return (what, figure) pairs as large figures."""
    return tag("div", *(tag("div", tag("b", figure), tag("span", what), class_="tile") for what, figure in values),
               class_="tiles")  # fmt: skip
