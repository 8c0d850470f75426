// Draws the page from the JSON in #data, which xalign/views/page.py writes. Everything that depends on the
// metric (title, unit, decimals, bounds, which way is better, floor, chance) stands in that JSON.

const data = JSON.parse(document.getElementById("data").textContent);
const isSingle = data.steps.length === 1;
const drawn = { curves: 0, bands: 0, floors: 0, cells: 0, labels: 0, maps: 0 };
const SVG = "http://www.w3.org/2000/svg";
const VIRIDIS = [
  [68, 1, 84], [72, 40, 120], [62, 74, 137], [49, 104, 142], [38, 130, 142],
  [31, 158, 137], [53, 183, 121], [109, 205, 89], [180, 222, 44], [253, 231, 37],
];
const NOTHING = "–";
let alone = null; // the language shown alone

// ---------------------------------------------------------------------------------------------- elements

function byId(id) {
  return document.getElementById(id);
}

function element(tag, attributes = {}, text) {
  const made = tag.startsWith("svg:")
    ? document.createElementNS(SVG, tag.slice(4))
    : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

function colour(share) {
  const place = Math.max(0, Math.min(1, share)) * (VIRIDIS.length - 1);
  const low = Math.min(Math.floor(place), VIRIDIS.length - 2);
  const parts = VIRIDIS[low].map((one, i) => Math.round(one + (VIRIDIS[low + 1][i] - one) * (place - low)));
  return `rgb(${parts})`;
}

// Okabe and Ito's colours, which people with any colour vision tell apart, as far as they reach; then hues, in
// steps of 5/8 of the circle, which keep neighbours apart where there are few.
const OKABE_ITO = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];
function hue(number, count) {
  if (count <= OKABE_ITO.length) return OKABE_ITO[number];
  const turn = count > 8 ? number / count : (number * 5) / 8;
  return `hsl(${Math.round(215 + 360 * turn) % 360} 62% 52%)`;
}

// ---------------------------------------------------------------------------------------------- numbers

function shown(metric, value) {
  return value === null ? NOTHING : value.toFixed(metric.decimals);
}

// Values per layer and step are whole numbers of the last decimal, which halves the size of the page.
function real(metric, whole) {
  return whole / 10 ** metric.decimals;
}

function valueAt(metric, code, step, layer) {
  return real(metric, metric.languages[code].values[step][layer]);
}

// The ends of the axis: those of the numbers drawn, out to round ones. The axis of a share begins at 0.
function range(metric) {
  const wholes = metric.is_share ? [0] : [];
  const bars = [];
  for (const one of Object.values(metric.languages)) {
    for (const row of [...one.values, one.low, one.high, one.layer_low, one.layer_high]) wholes.push(...row);
    bars.push(...[one.floor, metric.is_share ? null : one.chance].filter((bar) => bar !== null));
  }
  const numbers = [...bars, ...[true, false].map((low) => real(metric, extreme(wholes, low)))];
  let low = extreme(numbers, true);
  let high = extreme(numbers, false);
  if (low === high && !metric.is_share) {
    const room = Math.abs(low) / 2 || 1;
    [low, high] = [low - room, high + room];
  }
  const step = roundStep(high - low || 1, 4);
  const top = Math.ceil(high / step - 1e-9) * step;
  return [Math.floor(low / step + 1e-9) * step, metric.is_share ? Math.min(1, top) : top];
}

function extreme(numbers, lowest) {
  return numbers.reduce((a, b) => (lowest ? Math.min(a, b) : Math.max(a, b)));
}

function roundStep(span, count) {
  const power = 10 ** Math.floor(Math.log10(span / count));
  return [1, 2, 2.5, 5, 10].map((one) => one * power).find((one) => one * count >= span * (1 - 1e-9));
}

function ticks(low, high, count) {
  const step = roundStep(high - low || 1, count);
  const found = [];
  for (let number = Math.ceil(low / step - 1e-9); number * step <= high + step * 1e-9; number += 1) {
    found.push(number * step);
  }
  return [found, decimalsOf(step)];
}

function decimalsOf(step) {
  const isRound = (n) => Math.abs(step * 10 ** n - Math.round(step * 10 ** n)) < 1e-6 * step * 10 ** n;
  return [...Array(14).keys()].find(isRound) ?? 14;
}

// ---------------------------------------------------------------------------------------------- table

// The columns as [heading, cell of a language]; without floor and chance where the metric has none.
function columnsOf(metric) {
  const languages = Object.values(metric.languages);
  const number = (value) => shown(metric, value);
  const last = (row) => number(real(metric, row[row.length - 1]));
  const bars = ["floor", "chance"]
    .filter((name) => languages.some((one) => one[name] !== null))
    .map((name) => [name, (one) => number(one[name])]);
  const interval = ["95 %", (one) => (last(one.low) === last(one.high) ? "" : `[${last(one.low)}, ${last(one.high)}]`)];
  const sign = ["", (one) => one.sign];
  const best = ["best layer", (one) => one.emergence.best_layer];
  if (isSingle) {
    return [["score", (one) => last(one.score)], interval, sign, ...bars, best, ["pairs", (one) => one.n]];
  }
  const peak = metric.higher_is_better ? "peak" : "lowest";
  return [
    ["last", (one) => number(one.emergence.last)],
    interval,
    sign,
    ...bars,
    ["emerged at step", (one) => emergedAt(one)],
    [peak, (one) => number(one.emergence.peak)],
    ["at step", (one) => one.emergence.peak_step],
    best,
    [metric.higher_is_better ? "fallen since the peak" : "risen since the lowest", (one) => hasRegressed(one)],
  ];
}

function emergedAt(one) {
  const at = one.emergence.emerged_at;
  if (at === null) return "not";
  return at === data.steps[0] ? "first measurement" : at;
}

function hasRegressed(one) {
  return one.emergence.regressed ? element("span", { class: "warn" }, "yes") : "no";
}

function drawTable(metric) {
  const columns = columnsOf(metric);
  const top = element("tr");
  top.append(element("th", { scope: "col" }, "language"));
  for (const [heading] of columns) top.append(element("th", { scope: "col", class: "number" }, heading));
  const rows = Object.entries(metric.languages).map(([code, one]) => {
    const row = element("tr");
    row.append(element("th", { scope: "row" }, data.labels[code]));
    for (const [, cell] of columns) {
      const made = element("td", { class: "number" });
      made.append(cell(one));
      row.append(made);
    }
    return row;
  });
  byId("table").replaceChildren(top, ...rows);
  const isSigned = Object.values(metric.languages).some((one) => one.sign);
  byId("table-note").textContent = isSigned ? metric.signs : "";
}

// ---------------------------------------------------------------------------------------------- worst pairs

function drawWorst(name) {
  const [worst, metric] = [data.worst[name], data.metrics[name]];
  byId("worst-section").hidden = !worst;
  byId("worst-title").textContent = isSingle ? "Worst pairs" : "Worst pairs at the last step";
  if (!worst) return;
  const languages = Object.entries(worst).map(([code, { pairs, tied }]) => {
    const details = element("details");
    details.append(element("summary", {}, `${data.labels[code]}: ${whichPairs(metric, code, pairs, tied)}`));
    for (const [id, score, pivot, sentence] of pairs) {
      const quote = element("blockquote");
      quote.append(
        element("div", { class: "soft" }, `pair ${id}, ${metric.name} ${shown(metric, score)}`),
        element("div", { lang: "" }, pivot),
        element("div", { lang: "", dir: "auto" }, sentence),
      );
      details.append(quote);
    }
    return details;
  });
  byId("worst").replaceChildren(...languages);
}

// Where more pairs share the worst score than are shown, say so: those shown are no worse than the rest.
function whichPairs(metric, code, pairs, tied) {
  const { n } = metric.languages[code];
  if (tied > pairs.length) return `${tied} of ${n} pairs score ${shown(metric, pairs[0][1])}; ${pairs.length} of them`;
  return `the worst ${pairs.length} of ${n} pairs`;
}

// ---------------------------------------------------------------------------------------------- the page

function drawDefinition(metric) {
  byId("definition").hidden = !metric.definition;
  byId("definition-title").textContent = `What ${metric.name} is`;
  byId("definition-text").textContent = metric.definition;
}

function draw(name) {
  for (const key of Object.keys(drawn)) drawn[key] = 0;
  const metric = data.metrics[name];
  const ends = range(metric);
  drawDefinition(metric);
  drawCurves(metric, ends);
  drawLosses();
  drawTable(metric);
  drawMaps(metric, ends);
  drawWorst(name);
  drawImprovement(name);
  drawDecisions();
  document.body.dataset.drawn = JSON.stringify(drawn);
}

document.title = data.title;
byId("title").textContent = data.title;
byId("lead").textContent = data.lead;
byId("verdict").replaceChildren(...data.verdict.map((sentence) => element("li", {}, sentence)));
for (const [name, metric] of Object.entries(data.metrics)) {
  byId("metric").append(element("option", { value: name }, metric.name));
}
byId("metric").addEventListener("change", (event) => draw(event.target.value));
for (const [name, text] of Object.entries(data.about)) {
  byId("about").append(element("dt", {}, name), element("dd", {}, text));
}
// `report.html#margin` opens with that metric.
const asked = location.hash.slice(1);
byId("metric").value = Object.hasOwn(data.metrics, asked) ? asked : Object.keys(data.metrics)[0];
draw(byId("metric").value);
// The curves are drawn as wide as the window allows, so that their labels stay readable.
let width = widthOfCurves();
addEventListener("resize", () => {
  if (width === widthOfCurves()) return;
  width = widthOfCurves();
  drawCurves(data.metrics[byId("metric").value], range(data.metrics[byId("metric").value]));
  drawLosses();
  drawDecisions();
});
