# SPDX-License-Identifier: Apache-2.0
"""The look of the pages: one style sheet, light and dark, phone and paper."""

from __future__ import annotations

STYLE = """
:root {
  color-scheme: light dark;
  --font: system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif;
  --mono: ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace;
  --paper: #ffffff; --card: #f5f7f9; --ink: #1a1f27; --muted: #5a6473; --line: #dde2e8;
  --accent-1: #2f6aa6; --accent-2: #c8752a; --accent-3: #4d8a57; --accent-4: #8767ad;
  --good: #2d7a46; --bad: #b3412e; --warn: #8a5a00; --warn-card: #fff6e3; --mark: #fdf0d2;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #13161c; --card: #1b2029; --ink: #dee4ec; --muted: #98a3b3; --line: #2e3541;
    --accent-1: #74a9de; --accent-2: #e59a55; --accent-3: #7fbd8a; --accent-4: #b79bdb;
    --good: #7fc796; --bad: #ec8b79; --warn: #e8bd6a; --warn-card: #2a2418; --mark: #352c18;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; scroll-behavior: smooth; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.5 var(--font); overflow-wrap: break-word; }
main, header, footer { max-width: 1120px; margin: 0 auto; padding: 0 24px; }
header { padding-top: 36px; }
.kicker { color: var(--muted); font-size: 13px; letter-spacing: .06em; text-transform: uppercase; }
h1 { font-size: 30px; line-height: 1.2; margin: 4px 0 10px; letter-spacing: -.01em; }
h2 { font-size: 21px; margin: 52px 0 6px; letter-spacing: -.005em; }
h3 { font-size: 16px; margin: 28px 0 4px; }
p { margin: 6px 0 12px; max-width: 75ch; }
.lead { font-size: 18px; }
.note { color: var(--muted); font-size: 14px; }
a { color: var(--accent-1); text-underline-offset: 2px; }
nav { display: flex; flex-wrap: wrap; gap: 2px 18px; margin: 18px 0 0; padding: 9px 0;
  border-top: 1px solid var(--line); border-bottom: 1px solid var(--line); font-size: 14px; }
nav a { text-decoration: none; }
nav a:hover { text-decoration: underline; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 10px;
  margin: 22px 0 8px; }
.tile { background: var(--card); border-radius: 8px; padding: 12px 14px 11px; }
.tile b { display: block; font-size: 25px; line-height: 1.2; font-weight: 600;
  letter-spacing: -.015em; }
.tile span { display: block; color: var(--muted); font-size: 13px; line-height: 1.35; }
.tile .label { margin-bottom: 2px; }
.warning { background: var(--warn-card); border-left: 3px solid var(--warn); border-radius: 4px;
  padding: 10px 14px; margin: 16px 0; }
.warning p { margin: 0; max-width: none; }
.warning p + p { margin-top: 4px; }
figure { margin: 14px 0 22px; }
figcaption { color: var(--muted); font-size: 14px; max-width: 85ch; }
svg.plot { display: block; width: 100%; height: auto; }
svg.plot * { stroke-linejoin: round; stroke-linecap: butt; }
.narrow { display: none; }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: 0 28px; align-items: start; }
.pictures { display: grid; grid-template-columns: repeat(auto-fill, minmax(300px, 1fr));
  gap: 18px; margin: 10px 0 20px; }
.pictures figure { margin: 0; }
.pictures img, .sides img { display: block; width: 100%; height: auto; border-radius: 6px;
  background: #13161c; border: 1px solid var(--line); }
.pictures figcaption { margin-top: 6px; line-height: 1.4; }
figcaption b { color: var(--ink); font-weight: 600; }
.sides { display: grid; grid-template-columns: 1fr 1fr; gap: 12px; }
.table { overflow-x: auto; margin: 10px 0 18px; }
table { border-collapse: collapse; font-size: 14px; font-variant-numeric: tabular-nums; }
table.full { width: 100%; }
.pair h3 { margin-top: 12px; }
th, td { text-align: left; padding: 5px 18px 5px 0; border-bottom: 1px solid var(--line);
  vertical-align: top; }
th { color: var(--muted); font-weight: 500; white-space: nowrap; }
td.n, th.n { text-align: right; white-space: nowrap; }
td:last-child, th:last-child { padding-right: 0; }
tr.changed td { background: var(--mark); }
tr.changed td:first-child { box-shadow: -6px 0 0 var(--mark); }
tr.changed td:last-child { box-shadow: 6px 0 0 var(--mark); }
.good { color: var(--good); }
.bad { color: var(--bad); }
.track { white-space: nowrap; }
.chip { display: inline-block; width: .8em; height: .8em; border-radius: 3px;
  margin-right: .5em; vertical-align: -.05em; }
code, pre { font-family: var(--mono); font-size: 13px; }
pre { background: var(--card); border-radius: 8px; padding: 12px 14px; overflow-x: auto;
  line-height: 1.45; }
details { margin: 10px 0; }
summary { cursor: pointer; color: var(--accent-1); font-size: 14px; }
footer { color: var(--muted); font-size: 13px; padding-top: 16px; padding-bottom: 48px;
  margin-top: 56px; }
footer p { border-top: 1px solid var(--line); padding-top: 14px; max-width: none; }
@media (max-width: 720px) {
  main, header, footer { padding-left: 16px; padding-right: 16px; }
  header { padding-top: 22px; }
  h1 { font-size: 24px; }
  h2 { margin-top: 40px; }
  .lead { font-size: 16px; }
  .tiles { grid-template-columns: 1fr 1fr; }
  .tile b { font-size: 21px; }
  .wide { display: none; }
  .narrow { display: block; }
  .pair { grid-template-columns: 1fr; }
  .pictures { grid-template-columns: 1fr; }
  .sides { gap: 6px; }
}
@media print {
  :root { --paper: #ffffff; --card: #f5f7f9; --ink: #1a1f27; --muted: #5a6473; --line: #dde2e8;
    --accent-1: #2f6aa6; --accent-2: #c8752a; --accent-3: #4d8a57; --accent-4: #8767ad;
    --good: #2d7a46; --bad: #b3412e; --warn: #8a5a00; --warn-card: #fff6e3; --mark: #fdf0d2;
    color-scheme: light; }
  * { -webkit-print-color-adjust: exact; print-color-adjust: exact; }
  body { font-size: 10.5pt; }
  main, header, footer { max-width: none; padding-left: 0; padding-right: 0; }
  nav { display: none; }
  .wide { display: block; }
  .narrow { display: none; }
  .pictures { grid-template-columns: 1fr 1fr 1fr; gap: 12px; }
  h2 { margin-top: 32px; }
  footer { margin-top: 12px; padding-bottom: 0; }
  figure, .tile, tr, .sides { break-inside: avoid; }
  h2, h3 { break-after: avoid; }
  pre { white-space: pre-wrap; }
  .table { overflow: visible; }
}
"""
