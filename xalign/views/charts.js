"use strict";

// The charts of the page: curves with their legend, and maps of layers × steps.

// ---------------------------------------------------------------------------------------------- curves

function drawCurves(metric, [low, high]) {
  const xs = isSingle ? metric.layers.map((_, i) => i) : data.steps;
  const title = isSingle ? `${metric.name} by layer` : `${metric.name} by step, mean of layers`;
  byId("curves-title").textContent = title;
  byId("curves-note").textContent = curvesNote(metric);
  const plot = frameOf(xs, low, high, widthOfCurves() < 600 ? 260 : 380);
  const svg = element("svg:svg", { viewBox: `0 0 ${plot.width} ${plot.height}`, role: "img", "aria-label": title });
  drawAxes(svg, plot, metric, xs);
  const codes = Object.keys(metric.languages);
  const { chance } = metric.languages[codes[0]];
  if (chance !== null) svg.append(across(plot, chance, { class: "chance" }));
  codes.forEach((code, number) => drawLanguage(svg, plot, metric, xs, code, hue(number, codes.length)));
  drawFloorNumbers(svg, plot, metric);
  svg.classList.toggle("many", codes.length > 12); // their bands would hide the curves, until one is alone
  byId("curves").replaceChildren(svg);
  byId("legend").replaceChildren(...codes.map((code, number) => legendItem(code, hue(number, codes.length))));
  dim();
}

function curvesNote(metric) {
  const languages = Object.values(metric.languages);
  const parts = [`Bands: 95 % intervals ${data.over}.`];
  if (languages.some((one) => one.floor !== null)) {
    parts.push(`Dotted, with its height at the right: ${data.floor}.`);
  }
  if (languages[0].chance !== null) parts.push("Dashed: chance.");
  if (!metric.is_share && metric.unit) parts.push(`Unit: ${metric.unit}.`);
  if (!metric.higher_is_better) parts.push("Lower is better.");
  return parts.join(" ");
}

function widthOfCurves() {
  return Math.max(300, Math.min(1100, byId("curves").clientWidth || 1100));
}

function frameOf(xs, low, high, height) {
  const width = widthOfCurves();
  const [left, right, top, bottom] = [58, 54, 12, 34];
  const span = xs[xs.length - 1] - xs[0] || 1;
  return {
    width, height, left, right, low, high,
    x: (v) => left + ((width - left - right) * (v - xs[0])) / span,
    y: (v) => height - bottom - ((height - top - bottom) * (v - low)) / (high - low || 1),
  };
}

// The training loss below the curves, on the same axis of steps.
function drawLosses() {
  const { losses, steps } = data;
  byId("losses-part").hidden = isSingle || losses.length < 2;
  if (byId("losses-part").hidden) return;
  const values = losses.map(([, value]) => value);
  const [low, high] = [extreme(values, true), extreme(values, false)];
  const xs = [Math.min(steps[0], losses[0][0]), Math.max(steps[steps.length - 1], losses[losses.length - 1][0])];
  const plot = frameOf(xs, low, low === high ? low + 1 : high, 150);
  const svg = element("svg:svg", {
    viewBox: `0 0 ${plot.width} ${plot.height}`, role: "img", "aria-label": byId("losses-title").textContent,
  });
  drawScale(svg, plot, 3);
  drawSteps(svg, plot, xs);
  const points = losses.map(([step, value], i) => `${i ? "L" : "M"}${plot.x(step).toFixed(1)} ${plot.y(value).toFixed(1)}`);
  svg.append(element("svg:path", { class: "loss", d: points.join("") }));
  byId("losses").replaceChildren(svg);
}

function across(plot, value, attributes) {
  const [y1, y2] = [plot.y(value), plot.y(value)];
  return element("svg:line", { ...attributes, x1: plot.left, x2: plot.width - plot.right, y1, y2 });
}

function drawAxes(svg, plot, metric, xs) {
  drawScale(svg, plot, 4);
  if (!isSingle) {
    drawSteps(svg, plot, xs);
    return;
  }
  const every = Math.max(1, Math.ceil(xs.length / Math.floor(plot.width / 90)));
  xs.forEach((v, i) => {
    if (i % every === 0 || i === xs.length - 1) labelBelow(svg, plot, v, metric.layers[i]);
  });
}

// Lines across a chart at round heights, with their numbers.
function drawScale(svg, plot, count) {
  const [heights, decimals] = ticks(plot.low, plot.high, count);
  for (const v of heights) {
    svg.append(across(plot, v, { class: "axis" }));
    const text = (Math.abs(v) < 1e-9 * (plot.high - plot.low) ? 0 : v).toFixed(decimals);
    label(svg, { x: plot.left - 6, y: plot.y(v) + 4, "text-anchor": "end" }, text);
  }
}

// The numbers of round steps below a chart.
function drawSteps(svg, plot, xs) {
  const [steps] = ticks(xs[0], xs[xs.length - 1], Math.max(2, Math.floor(plot.width / 110)));
  for (const v of steps) if (Number.isInteger(v)) labelBelow(svg, plot, v, v);
}

function labelBelow(svg, plot, v, text) {
  label(svg, { x: plot.x(v), y: plot.height - 12, "text-anchor": "middle" }, text);
}

function label(svg, attributes, text) {
  svg.append(element("svg:text", attributes, text));
  drawn.labels += 1;
}

function drawLanguage(svg, plot, metric, xs, code, stroke) {
  const one = metric.languages[code];
  const [series, lows, highs] = (
    isSingle ? [one.values[0], one.layer_low, one.layer_high] : [one.score, one.low, one.high]
  ).map((row) => row.map((whole) => real(metric, whole)));
  const line = (points) =>
    points.map(([a, b], i) => `${i ? "L" : "M"}${plot.x(a).toFixed(1)} ${plot.y(b).toFixed(1)}`).join("");
  const curves = [];
  const bands = [];
  for (const [from, to] of isSingle ? stacksOf(metric) : [[0, xs.length]]) {
    const points = (row) => xs.slice(from, to).map((v, i) => [v, row[from + i]]);
    curves.push(line(points(series)));
    bands.push(`${line([...points(highs), ...points(lows).reverse()])}Z`);
  }
  svg.append(element("svg:path", { class: "band", "data-code": code, d: bands.join(""), fill: stroke }));
  drawn.bands += 1;
  const curve = element("svg:path", { class: "curve", "data-code": code, d: curves.join(""), stroke });
  curve.append(element("svg:title", {}, `${code}: ${shown(metric, series[series.length - 1])}`));
  svg.append(curve);
  drawn.curves += 1;
  if (one.floor === null) return;
  const together = floorsAt(plot, metric, one.floor);
  const turn = together.indexOf(code);
  const dashes = {
    "stroke-dasharray": `3 ${3 * (2 * together.length - 1)}`,
    "stroke-dashoffset": -6 * turn,
  };
  svg.append(across(plot, one.floor, { class: "floor", "data-code": code, stroke, ...dashes }));
  drawn.floors += 1;
}

// The heights of the floors at the right edge: one number for all that stand too near to each other.
function drawFloorNumbers(svg, plot, metric) {
  const floors = Object.values(metric.languages).map((one) => one.floor).filter((floor) => floor !== null);
  const groups = [];
  for (const floor of floors.sort((a, b) => a - b)) {
    const last = groups[groups.length - 1];
    if (last && plot.y(last[0]) - plot.y(floor) < 9) last.push(floor);
    else groups.push([floor]);
  }
  const short = (floor) => floor.toFixed(Math.max(metric.decimals - 1, 0)).replace(/^0\./, ".");
  for (const group of groups) {
    const ends = [...new Set([group[0], group[group.length - 1]].map(short))].join("–");
    const text = group.length > 1 ? `${ends} ×${group.length}` : ends;
    const y = plot.y((group[0] + group[group.length - 1]) / 2) + 3;
    svg.append(element("svg:text", { class: "bar", x: plot.width - plot.right + 3, y }, text));
  }
}

// The languages whose floors are drawn on each other at a height, of which the dots take turns.
function floorsAt(plot, metric, floor) {
  const codes = Object.keys(metric.languages).filter((code) => metric.languages[code].floor !== null);
  return codes.filter((code) => Math.abs(plot.y(metric.languages[code].floor) - plot.y(floor)) < 2);
}

// The layers of each stack as [from, to): no curve runs from the encoder's last layer to the decoder's first.
function stacksOf(metric) {
  return metric.stack_starts.map((from, i) => [from, metric.stack_starts[i + 1] ?? metric.layers.length]);
}

function legendItem(code, background) {
  const item = element("li");
  const pressed = String(alone === code);
  const button = element("button", { type: "button", "aria-pressed": pressed, "data-code": code });
  button.append(element("span", { class: "swatch", style: `background:${background}` }), data.labels[code]);
  button.addEventListener("click", () => {
    alone = alone === code ? null : code;
    dim();
  });
  item.append(button);
  return item;
}

function dim() {
  for (const one of document.querySelectorAll("#curves [data-code]")) {
    one.classList.toggle("dim", alone !== null && one.dataset.code !== alone);
    one.classList.toggle("alone", one.dataset.code === alone);
  }
  for (const one of document.querySelectorAll("#legend button")) {
    one.setAttribute("aria-pressed", String(one.dataset.code === alone));
  }
}

// ---------------------------------------------------------------------------------------------- maps

function drawMaps(metric, ends) {
  byId("maps-title").textContent = isSingle ? "Layers" : "Layers × steps";
  const [low, high] = ends.map((end) => end.toFixed(metric.decimals).replace(/(\.\d*)0$/, "$1"));
  byId("scale-ends").textContent = `${low} to ${high}: the range on this page`;
  byId("read").textContent = isSingle ? "layer and value stand here." : "step, layer and value stand here.";
  const scale = byId("scale").getContext("2d");
  for (let i = 0; i < 220; i += 1) {
    scale.fillStyle = colour(i / 219);
    scale.fillRect(i, 0, 1, 1);
  }
  byId("maps").replaceChildren(...Object.keys(metric.languages).map((code) => mapOf(metric, code, ends)));
}

function mapOf(metric, code, [low, high]) {
  const [steps, layers] = [data.steps.length, metric.layers.length];
  const figure = element("figure");
  const canvas = element("canvas", {
    width: steps,
    height: layers,
    tabindex: 0,
    role: "img",
    "aria-label": `${metric.name} of ${code}, ${layers} layers × ${steps} steps`,
  });
  const pen = canvas.getContext("2d");
  for (let step = 0; step < steps; step += 1) {
    for (let layer = 0; layer < layers; layer += 1) {
      pen.fillStyle = colour((valueAt(metric, code, step, layer) - low) / (high - low || 1));
      pen.fillRect(step, layers - 1 - layer, 1, 1);
      drawn.cells += 1;
    }
  }
  drawn.maps += 1;
  drawn.labels += 1;
  readAloud(canvas, metric, code);
  const ends = element("div", { class: "ends" });
  if (!isSingle) {
    for (const step of [data.steps[0], data.steps[steps - 1]]) ends.append(element("span", {}, `step ${step}`));
  }
  const { score, sign } = metric.languages[code];
  const caption = `${data.labels[code]}: ${shown(metric, real(metric, score[score.length - 1]))} ${sign}`;
  figure.append(element("figcaption", {}, caption), layersBeside(metric), canvas, ends);
  return figure;
}

// The numbers of the layers beside a map, from the highest at the top, each at its height; of many, every
// second, fourth or eighth, and the ends.
function layersBeside(metric) {
  const { layers } = metric;
  const count = layers.length;
  const every = [1, 2, 4, 8, 16, 32, 64].find((one) => count / one <= 9) ?? count;
  const beside = element("div", { class: "layers", "aria-hidden": "true" });
  const wide = layers.reduce((longest, one) => (one.length > longest.length ? one : longest), "");
  beside.append(element("span", { class: "widest" }, wide));
  layers.forEach((layer, i) => {
    const isEnd = i === count - 1;
    if (i % every !== 0 && !isEnd) return;
    if (!isEnd && count - 1 - i < every * 0.7) return; // it would stand on the number of the last layer
    beside.append(element("span", { class: "tick", style: `bottom:${(100 * (i + 0.5)) / count}%` }, layer));
  });
  return beside;
}

// Arrow keys and the mouse read single values of a map.
function readAloud(canvas, metric, code) {
  const [steps, layers] = [data.steps.length, metric.layers.length];
  const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
  const inside = ([step, layer]) => [
    Math.max(0, Math.min(steps - 1, step)),
    Math.max(0, Math.min(layers - 1, layer)),
  ];
  let at = [steps - 1, layers - 1];
  const words = () => {
    const step = isSingle ? "" : `step ${data.steps[at[0]]}, `;
    return `${step}layer ${metric.layers[at[1]]}: ${shown(metric, valueAt(metric, code, ...at))}`;
  };
  const read = () => {
    byId("read").textContent = `${code}, ${words()}`;
  };
  canvas.addEventListener("focus", read);
  canvas.addEventListener("keydown", (event) => {
    const move = moves[event.key];
    if (!move) return;
    event.preventDefault();
    at = inside([at[0] + move[0], at[1] + move[1]]);
    read();
  });
  canvas.addEventListener("mousemove", (event) => {
    const box = canvas.getBoundingClientRect();
    const step = Math.floor(((event.clientX - box.left) / box.width) * steps);
    const fromTop = Math.floor(((event.clientY - box.top) / box.height) * layers);
    at = inside([step, layers - 1 - fromTop]);
    canvas.title = words();
  });
}
