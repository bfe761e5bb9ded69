"use strict";

const report = JSON.parse(document.getElementById("report-data").textContent);
const narrow = matchMedia("(max-width: 600px)");
const dark = matchMedia("(prefers-color-scheme: dark)");
const CONFIG = { responsive: true, displayModeBar: false, doubleClick: "reset" };

/* A colour is the name of a variable in the style sheet, looked up anew for light and dark. */
function coloured(value, isColour = false) {
  if (Array.isArray(value)) return value.map((part) => coloured(part, isColour));
  if (value && typeof value === "object") {
    const parts = Object.entries(value).map(([key, part]) => [key, coloured(part, /color/i.test(key))]);
    return Object.fromEntries(parts);
  }
  return isColour && typeof value === "string" && value.startsWith("--") ? css(value) : value;
}

function css(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function merged(base, over) {
  const result = { ...base };
  for (const [key, value] of Object.entries(over)) {
    const isTable = value && typeof value === "object" && !Array.isArray(value);
    result[key] = isTable ? merged(base[key] || {}, value) : value;
  }
  return result;
}

/* A chart of several panels has axes with a number; they look like the first. */
function house(layout) {
  const axis = { gridcolor: "--rule", linecolor: "--faint", zeroline: false, automargin: true, fixedrange: true, ticks: "" };
  const title = { standoff: 8, font: { color: "--soft", size: narrow.matches ? 12 : 13 } };
  const across = { ...axis, showline: true, title };
  const upwards = { ...axis, title };
  const more = Object.keys(layout).filter((key) => /^[xy]axis\d+$/.test(key));
  return {
    ...Object.fromEntries(more.map((key) => [key, key.startsWith("x") ? across : upwards])),
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: css("--text"), size: narrow.matches ? 12 : 13, color: "--ink" },
    margin: narrow.matches ? { l: 8, r: 12, t: 8, b: 8 } : { l: 12, r: 20, t: 8, b: 12 },
    xaxis: across,
    yaxis: upwards,
    legend: { orientation: "h", traceorder: "reversed", x: 0, y: 1.02, xanchor: "left", yanchor: "bottom" },
    hoverlabel: { bgcolor: "--paper", bordercolor: "--faint", font: { color: "--ink" } },
    hovermode: "closest",
    dragmode: false,
  };
}

function draw(element, traces, layout) {
  Plotly.react(element, coloured(traces), coloured(merged(house(layout), layout)), CONFIG);
}

function chosen(id) {
  const select = document.getElementById(id);
  return select ? Number(select.value) : 0;
}

function drawForecast() {
  const { time, next, ours, rival, connected, variables, ...all } = report.browse;
  const series = all.series[chosen("node")][chosen("variable")];
  const past = series.leads[chosen("lead")];
  const pastTime = all.at[chosen("lead")].map((place) => time[place]);
  const mode = connected && pastTime.length > 1 ? "lines" : "lines+markers";
  const ahead = next.length > 1 ? "lines" : "markers";
  const line = (name, x, y, style) => ({ type: "scatter", mode: "lines", name, x, y, hovertemplate: "%{y:.4~g}", ...style });
  const edge = { line: { width: 0 }, showlegend: false, hoverinfo: "skip", hovertemplate: undefined };
  const band = (x, { lower, upper }, style) => [
    line("", x, lower, edge),
    line("interval", x, upper, { ...edge, fill: "tonexty", fillcolor: "--band", ...style }),
  ];
  const single = next.length > 1 ? [] : [whisker(next, series.next)];
  const traces = [
    ...band(pastTime, past, { showlegend: true }),
    ...band(next, series.next),
    ...single,
    ...(rival ? [line(rival, pastTime, past.rival, { mode, visible: "legendonly", line: { color: "--rival", width: 1.5, dash: "dot" } })] : []),
    line("truth", time, series.truth, { line: { color: "--ink", width: 1.4 } }),
    line(ours, pastTime, past.ours, { mode, line: { color: "--ours", width: 2.2 }, marker: { size: 4 } }),
    line("newest forecast", next, series.next.ours, { mode: ahead, line: { color: "--ours", width: 2.2, dash: "5px,3px" }, marker: { size: 7, color: "--ours" } }),
  ];
  const stretch = document.getElementById("stretch").value;
  const newest = narrow.matches ? Math.ceil(all.newest / 2) : all.newest;
  const first = stretch === "all" ? 0 : Math.max(0, time.length - newest);
  draw(document.getElementById("chart-forecast"), traces, {
    height: narrow.matches ? 420 : 440,
    hovermode: "x unified",
    dragmode: narrow.matches ? false : "zoom",
    uirevision: "legend",
    xaxis: { type: "date", range: [time[first], instant(next.at(-1)) + 0.012 * (instant(next.at(-1)) - instant(time[first]))], fixedrange: narrow.matches, uirevision: `${stretch} ${narrow.matches}`, showgrid: false, nticks: narrow.matches ? 5 : 10 },
    yaxis: { title: { text: variables[chosen("variable")] }, uirevision: `${chosen("node")} ${chosen("variable")}` },
    shapes: [{ type: "line", x0: time[time.length - 1], x1: time[time.length - 1], yref: "paper", y0: 0, y1: 1, line: { color: "--faint", width: 1, dash: "dash" } }],
  });
}

/* Plotly's date axis counts wall time as if it were UTC. */
function instant(wallTime) {
  return Date.parse(`${wallTime.replace(" ", "T")}Z`);
}

/* One step ahead has no width for a band. */
function whisker(x, { ours, lower, upper }) {
  const error_y = { array: [upper[0] - ours[0]], arrayminus: [ours[0] - lower[0]], color: "--ours", thickness: 2 };
  return { type: "scatter", mode: "markers", x, y: ours, error_y, showlegend: false, hoverinfo: "skip", marker: { color: "--ours", size: 1 } };
}

function drawAll() {
  if (report.browse) drawForecast();
  for (const [name, { data, layout, narrow: changes }] of Object.entries(report.figures)) {
    draw(document.getElementById(`chart-${name}`), data, narrow.matches ? merged(layout, changes) : layout);
  }
}

for (const select of document.querySelectorAll(".choices select")) select.addEventListener("change", drawForecast);
if (report.browse) document.getElementById("stretch-label").hidden = report.browse.time.length <= report.browse.newest;
for (const query of [narrow, dark]) query.addEventListener("change", drawAll);
drawAll();

/* A column's title becomes a button that sorts by it; numbers the largest first, names from A. */
function sortBy(table, column) {
  const heads = [...table.tHead.rows[0].cells];
  const isText = heads[column].classList.contains("name");
  const upwards = heads[column].ariaSort ? heads[column].ariaSort === "descending" : isText;
  const value = (row) => row.cells[column].dataset.value;
  const order = (a, b) => (isText ? value(a).localeCompare(value(b), undefined, { numeric: true }) : value(a) - value(b));
  const rows = [...table.tBodies[0].rows].sort((a, b) => (upwards ? order(a, b) : order(b, a)));
  for (const head of heads) head.removeAttribute("aria-sort");
  heads[column].ariaSort = upwards ? "ascending" : "descending";
  table.tBodies[0].append(...rows);
}

for (const table of document.querySelectorAll("table.listing")) {
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = document.createElement("button");
    button.textContent = head.textContent;
    button.addEventListener("click", () => sortBy(table, column));
    head.replaceChildren(button);
  });
}
