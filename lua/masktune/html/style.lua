--- The style of pages (masktune.html).
-- @module masktune.html.style
return [[
:root{--paper:#fff;--ink:#1e2126;--faint:#5a606a;--line:#dfe2e6;--panel:#f5f6f8;--accent:#0072b2;--bad:#d55e00;
--s1:#0072b2;--s2:#d55e00;--s3:#009e73;--s4:#cc79a7;--s5:#56b4e9;--s6:#e69f00}
:root.dark{--paper:#15171b;--ink:#e8eaed;--faint:#a0a6b0;--line:#343941;--panel:#1f2329;--accent:#56b4e9;--bad:#f0893e;
--s1:#56b4e9;--s2:#f0893e;--s3:#3fc79a;--s4:#e3a3c6;--s5:#8fd0f5;--s6:#f0c050;color-scheme:dark}
*{box-sizing:border-box}
html{scroll-behavior:smooth}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,sans-serif}
header,main,nav{max-width:76rem;margin:0 auto;padding:0 1.25rem}
header{padding-top:1.5rem;position:relative}
h1{margin:0 5rem 0 0;font-size:1.7rem;line-height:1.2}
h2{margin:2.2rem 0 .6rem;font-size:1.25rem;border-bottom:1px solid var(--line);padding-bottom:.3rem}
h3{margin:1.3rem 0 .4rem;font-size:1.02rem}
.summary{font-size:1.1rem;margin:.5rem 0 1rem;max-width:60rem}
#theme{position:absolute;top:1.5rem;right:1.25rem}
button,select{font:inherit;color:inherit;background:var(--panel);border:1px solid var(--line);border-radius:.35rem;
padding:.2rem .6rem}
button{cursor:pointer}
:focus-visible{outline:3px solid var(--accent);outline-offset:2px}
.skip{position:absolute;left:-999px}
.skip:focus{left:1rem;top:.5rem;background:var(--paper);padding:.3rem .6rem;z-index:3}
nav{position:sticky;top:0;background:var(--paper);z-index:2;border-bottom:1px solid var(--line)}
nav ul{display:flex;gap:.3rem 1.2rem;flex-wrap:wrap;list-style:none;margin:0;padding:.5rem 0}
a{color:var(--accent)}
section{scroll-margin-top:3.5rem}
.scroll{overflow-x:auto;margin:.6rem 0 1rem}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}
caption{text-align:left;color:var(--faint);padding:.2rem 0}
th,td{padding:.3rem .8rem;border-bottom:1px solid var(--line);text-align:left;vertical-align:top}
thead th{padding:.2rem .2rem}thead button{border:0;background:none;padding:.1rem .6rem;font-weight:600;text-align:left}
th[aria-sort=ascending] button::after{content:" \25b2"}th[aria-sort=descending] button::after{content:" \25bc"}
tbody th{font-weight:500}.number{text-align:right}
.cell{display:block;text-align:right;margin:-.3rem -.8rem;padding:.3rem .8rem;
background:color-mix(in srgb,var(--accent) calc(var(--share)*55%),transparent)}
.cell.wrong{background:color-mix(in srgb,var(--bad) calc(var(--share)*75%),transparent)}
pre{background:var(--panel);border:1px solid var(--line);border-radius:.4rem;padding:.7rem 1rem;overflow-x:auto}
progress{width:100%;max-width:40rem;accent-color:var(--accent)}
.good{color:var(--s3)}.bad{color:var(--bad)}
.charts{display:flex;flex-wrap:wrap;gap:1rem}.charts>*{flex:1 1 26rem;max-width:40rem;min-width:0}
.chart{margin:0}svg{width:100%;height:auto}
.row{display:flex;flex-wrap:wrap;gap:1rem}.row figure{margin:0}
figcaption{font-size:.82rem;color:var(--faint);overflow-wrap:anywhere}
.controls{display:flex;flex-wrap:wrap;gap:.5rem 1.2rem;align-items:center;margin:.5rem 0}
.count{color:var(--faint)}
.tiles{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,21rem),1fr));gap:.8rem}
.tiles figure{margin:0;padding:.4rem;border:1px solid var(--line);border-radius:.4rem;cursor:zoom-in;
content-visibility:auto;contain-intrinsic-size:auto 9rem}
.tiles figure[hidden]{display:none}
.tiles img{width:100%;height:auto;display:block;image-rendering:auto}
dialog{max-width:96vw;background:var(--paper);color:var(--ink);border:1px solid var(--line);border-radius:.5rem}
dialog img{max-width:90vw;max-height:78vh;min-width:min(90vw,48rem)}
dialog::backdrop{background:#000a}
@media print{nav,.controls,#theme{display:none}section{break-inside:avoid}}
]]
