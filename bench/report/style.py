"""How the report looks, light and dark."""

from __future__ import annotations

STYLE = """
:root{color-scheme:light dark;--page:#f7f7f5;--card:#fff;--ink:#1b1f24;--soft:#5c6570;--faint:#8b949e;--rule:#e3e3df;
--ours:#0b7a75;--limit:#6b7280;--redis:#c2412d;--nats:#2563eb;--mosquitto:#7c3aed;--ejabberd:#a16207;--prosody:#be185d;
--other:#64748b;--good:#15803d;--bad:#b91c1c;--badback:#fef2f2;--chip:#eef2f1}
@media (prefers-color-scheme:dark){:root{--page:#101316;--card:#181c20;--ink:#e6e9ec;--soft:#a3adb8;--faint:#75808b;
--rule:#2a3036;--ours:#34d3c3;--limit:#9aa4b0;--redis:#f4836f;--nats:#7aa7ff;--mosquitto:#b794f6;--ejabberd:#dcae4a;
--prosody:#f285b5;--other:#94a3b8;--good:#4ade80;--bad:#f87171;--badback:#2b1718;--chip:#22292b}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,
"Helvetica Neue",Arial,sans-serif;-webkit-text-size-adjust:100%}
main{max-width:1180px;margin:0 auto;padding:40px 24px 56px}
h1{font-size:30px;line-height:1.15;letter-spacing:-.02em;margin:0 0 6px}
h2{font-size:13px;letter-spacing:.09em;text-transform:uppercase;color:var(--soft);margin:0 0 6px;font-weight:650}
h3{font-size:14px;margin:0 0 6px;font-weight:600;color:var(--soft)}
a{color:inherit}
.where{color:var(--soft);margin:0 0 26px;max-width:80ch}
.cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(265px,1fr));gap:14px;margin:0 0 34px}
.card{background:var(--card);border:1px solid var(--rule);border-radius:10px;padding:15px 17px;text-decoration:none;
display:flex;flex-direction:column}
.card:hover{border-color:var(--ours)}
.card .big{font-size:27px;font-weight:680;letter-spacing:-.02em;color:var(--ours);line-height:1.15;margin:3px 0 4px;
font-variant-numeric:tabular-nums}
.card .claim{color:var(--soft);font-size:14px;line-height:1.4;margin:0 0 10px}
.chips{display:flex;flex-wrap:wrap;gap:5px;margin-top:auto}
.chip{font-size:12.5px;background:var(--chip);border-radius:20px;padding:2px 9px;font-variant-numeric:tabular-nums}
.chip.less{color:var(--good)}
.chip.bad{color:var(--bad);background:var(--badback)}
section{background:var(--card);border:1px solid var(--rule);border-radius:12px;padding:26px 28px 22px;margin:0 0 20px;
scroll-margin-top:16px}
.headline{font-size:21px;line-height:1.35;letter-spacing:-.01em;margin:0 0 18px;max-width:68ch;text-wrap:pretty}
.headline:first-letter{text-transform:uppercase}
.charts{display:grid;grid-template-columns:repeat(2,minmax(0,1fr));gap:26px 34px;align-items:start}
figure{margin:0}
figcaption{font-size:14px;font-weight:600;margin:0 0 8px}
svg{display:block;width:100%;height:auto;overflow:visible;font:13.5px system-ui,-apple-system,"Segoe UI",Roboto,Arial,
sans-serif;font-variant-numeric:tabular-nums}
svg text{fill:var(--ink)}
svg .axis{fill:var(--faint);font-size:12px}
svg .ratio{fill:var(--soft);font-size:12.5px}
svg .grid{stroke:var(--rule);stroke-width:1;fill:none}
svg .bar{fill:var(--c);fill-opacity:.42}
svg .s-presenced .bar{fill-opacity:1}
svg .whisker{stroke:var(--ink);stroke-opacity:.62;stroke-width:1.4;fill:none}
svg .line{stroke:var(--c);stroke-width:1.8;fill:none;stroke-linejoin:round}
svg .s-presenced .line{stroke-width:3}
svg .s-limit .line{stroke-dasharray:5 4}
svg .dot{fill:var(--c)}
svg .hover{fill:transparent;stroke:transparent;stroke-width:9}
svg .name{font-size:13px}
svg .s-presenced .name,svg .s-presenced .value{font-weight:680}
svg g.s>.name[text-anchor=start]{fill:var(--c)}
.s{--c:var(--other)}.s-presenced{--c:var(--ours)}.s-limit{--c:var(--limit)}.s-redis{--c:var(--redis)}
.s-nats{--c:var(--nats)}.s-mosquitto{--c:var(--mosquitto)}.s-ejabberd{--c:var(--ejabberd)}.s-prosody{--c:var(--prosody)}
.scroll{overflow-x:auto;margin:0 0 10px}
table{border-collapse:collapse;font-size:13.5px;font-variant-numeric:tabular-nums;width:100%}
th{font-weight:550;color:var(--soft);vertical-align:bottom}
th,td{padding:5px 12px 5px 0;text-align:right;border-bottom:1px solid var(--rule);white-space:nowrap}
th{white-space:normal}
.charts th,.charts td{padding-right:9px}
th.left,td.left{text-align:left}
tr.ours td{font-weight:650}
td.ok{color:var(--good)}td.bad{color:var(--bad);font-weight:650}
details{margin:18px 0 0}
summary{cursor:pointer;color:var(--soft);font-size:14px;padding:3px 0}
summary:hover{color:var(--ink)}
.how{color:var(--soft);font-size:14px;margin:16px 0 0;max-width:92ch}
.how b{color:var(--ink);font-weight:600}
.notes{color:var(--soft);font-size:14px;margin:10px 0 0;padding-left:18px;max-width:92ch}
.alarm{background:var(--badback);color:var(--bad);border-radius:8px;padding:9px 13px;margin:0 0 16px;font-weight:600}
.warn{border-left:3px solid var(--ejabberd);padding:2px 0 2px 12px;color:var(--soft);margin:0 0 14px}
code,kbd{font:13px ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
dl{display:grid;grid-template-columns:max-content 1fr;gap:3px 20px;margin:0;font-size:14px}
dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}
@media (max-width:860px){main{padding:24px 14px}section{padding:19px 16px}.charts{grid-template-columns:minmax(0,1fr)}
.headline{font-size:18px}dl{grid-template-columns:1fr}dt{margin-top:6px}}
@media print{body{background:#fff}section,.card{break-inside:avoid}}
"""
