// Draws the figures with Chart.js from the data of scripts/reporting/panels.py.
const DATA = JSON.parse(document.getElementById("data").textContent);
const hiddenArms = new Set();
const figures = [];
const DASHES = [[], [7, 4], [2, 3], [9, 3, 2, 3]];
const DOTS = ["circle", "triangle", "rect", "rectRot", "star"];
const ROW_PIXELS = 30;

function isDark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}
let printing = false;
const pick = (pair) => (isDark() && !printing ? pair.dark : pair.light);
const theme = (name) => (printing ? { "--ink": "#000000", "--dim": "#444444", "--grid": "#dddddd", "--back": "#ffffff" }[name]
  : getComputedStyle(document.documentElement).getPropertyValue(name).trim());
const NEUTRAL = [{ light: "#0072b2", dark: "#56b4e9" }, { light: "#d55e00", dark: "#ff9a57" },
  { light: "#009e73", dark: "#4fd0a8" }, { light: "#a3568c", dark: "#cc79a7" }];
const armColor = (series) => pick(DATA.looks[series.arm] || NEUTRAL[series.run % NEUTRAL.length]);
const several = DATA.runs.length > 1;
const seriesName = (s) => (several && s.name !== DATA.runs[s.run] ? `${s.name} · ${DATA.runs[s.run]}` : s.name);

// ------------------------------------------------------------------ what Chart.js does not draw

function drawBand(chart, band) {
  const { ctx, chartArea: area, scales: { x, y } } = chart;
  const vertical = chart.options.extras.vertical;
  const [a, b] = vertical ? [x.getPixelForValue(band.low), x.getPixelForValue(band.high)]
    : [y.getPixelForValue(band.low), y.getPixelForValue(band.high)];
  ctx.fillStyle = isDark() && !printing ? "rgba(111,215,159,.18)" : "rgba(20,101,61,.14)";
  if (vertical) ctx.fillRect(a, area.top, b - a, area.height);
  else ctx.fillRect(area.left, b, area.width, a - b);
}

function drawMark(chart, mark) {
  const { ctx, chartArea: area, scales } = chart;
  const along = mark.x !== undefined;
  const at = along ? scales.x.getPixelForValue(mark.x) : scales.y.getPixelForValue(mark.y);
  const inside = along ? at >= area.left - 1 && at <= area.right + 1 : at >= area.top - 1 && at <= area.bottom + 1;
  if (!Number.isFinite(at) || !inside) return;
  ctx.strokeStyle = theme("--dim");
  ctx.setLineDash([4, 4]);
  ctx.beginPath();
  if (along) { ctx.moveTo(at, area.top); ctx.lineTo(at, area.bottom); }
  else { ctx.moveTo(area.left, at); ctx.lineTo(area.right, at); }
  ctx.stroke();
  ctx.setLineDash([]);
  ctx.fillStyle = theme("--dim");
  ctx.font = "12px sans-serif";
  ctx.textAlign = along && at > (area.left + area.right) / 2 ? "right" : "left";
  ctx.textBaseline = "bottom";
  const [left, base] = along ? [at + (ctx.textAlign === "right" ? -4 : 4), area.top - 2] : [area.left + 4, at - 2];
  Object.assign(ctx, { lineWidth: 3, strokeStyle: theme("--back"), lineJoin: "round" });
  ctx.strokeText(mark.label, left, base);
  ctx.fillText(mark.label, left, base);
  ctx.lineWidth = 1;
}

function drawIntervals(chart) {
  const { ctx, scales: { x, y }, chartArea: area } = chart;
  const vertical = !chart.options.extras.vertical;
  chart.data.datasets.forEach((dataset, index) => {
    if (!chart.isDatasetVisible(index) || !dataset.intervals) return;
    chart.getDatasetMeta(index).data.forEach((point, i) => {
      const [low, high] = dataset.intervals[i] || [null, null];
      if (low === null || high === null || low === high || point.skip) return;
      const clamp = (v, a, b) => Math.min(Math.max(v, a), b);
      ctx.strokeStyle = dataset.borderColor;
      ctx.lineWidth = 1.6;
      ctx.beginPath();
      const bar = (x1, y1, x2, y2) => { ctx.moveTo(x1, y1); ctx.lineTo(x2, y2); };
      if (vertical) {
        const [a, b] = [low, high].map((v) => clamp(y.getPixelForValue(v), area.top, area.bottom));
        bar(point.x, a, point.x, b); bar(point.x - 4, a, point.x + 4, a); bar(point.x - 4, b, point.x + 4, b);
      } else {
        const [a, b] = [low, high].map((v) => clamp(x.getPixelForValue(v), area.left, area.right));
        bar(a, point.y, b, point.y); bar(a, point.y - 4, a, point.y + 4); bar(b, point.y - 4, b, point.y + 4);
      }
      ctx.stroke();
    });
  });
}

const extras = {
  id: "extras",
  beforeDatasetsDraw(chart) {
    chart.ctx.save();
    if (chart.options.extras.band) drawBand(chart, chart.options.extras.band);
    (chart.options.extras.marks || []).forEach((mark) => drawMark(chart, mark));
    drawIntervals(chart);
    chart.ctx.restore();
  },
};

// ------------------------------------------------------------------------------ scales and data

function logTick(format, decades) {
  return (value) => {
    const digit = Math.round(value / 10 ** Math.floor(Math.log10(value) + 1e-9));
    const kept = decades > 2.5 ? [1] : decades > 1.2 ? [1, 3] : decades > 0.7 ? [1, 2, 3, 5, 7] : [1, 2, 3, 4, 5, 6, 7, 8, 9];
    return kept.includes(digit) ? shown(value, format) : "";
  };
}

function scaleOf(axis, values, wanted) {
  const finite = values.filter((v) => Number.isFinite(v) && (wanted !== "logarithmic" || v > 0));
  const decades = finite.length ? Math.log10(Math.max(...finite) / Math.min(...finite)) : 1;
  const scale = {
    type: wanted,
    title: { display: true, text: axis.title + (wanted === "logarithmic" ? " (log scale)" : ""), color: theme("--dim") },
    grid: { color: theme("--grid"), borderColor: theme("--dim") },
    ticks: { color: theme("--dim"), maxRotation: 0, autoSkipPadding: 14,
      callback: wanted === "logarithmic" ? logTick(axis.format, decades) : (value) => shown(value, axis.format) },
  };
  if (axis.zero) scale.beginAtZero = true;
  if (axis.min !== undefined && wanted !== "logarithmic") scale.min = axis.min;
  if (axis.max !== undefined && wanted !== "logarithmic") scale.max = axis.max;
  return scale;
}

/** Limits that show every point, and intervals as far as they say anything. */
function clipped(view) {
  const points = view.series.flatMap((s) => s.y).concat((view.marks || []).map((m) => m.y), view.band ? [view.band.low] : []);
  const finite = points.filter((v) => Number.isFinite(v));
  const ends = view.series.flatMap((s) => [...(s.low || []), ...(s.high || [])]).filter((v) => Number.isFinite(v));
  const [low, high] = [Math.min(...finite), Math.max(...finite)];
  const span = Math.max(high - low, 0.05);
  const bottom = Math.max(Math.min(low, ...ends), Math.min(view.y.clip[0], low - 0.2 * span));
  const top = Math.min(Math.max(high, ...ends), Math.max(view.y.clip[1], high + 0.2 * span));
  return [bottom - 0.06 * (top - bottom), top + 0.06 * (top - bottom)];
}

function tooltip(lines) {
  return { enabled: true, backgroundColor: "rgba(20,24,30,.94)", titleColor: "#fff", bodyColor: "#fff", padding: 9,
    displayColors: false, callbacks: { title: () => "", label: lines } };
}

function baseOptions(view, lines) {
  const marks = view.marks || [];
  const options = {
    responsive: true, maintainAspectRatio: false, animation: false, normalized: true,
    interaction: { mode: "nearest", intersect: false, axis: "xy" },
    layout: { padding: { top: marks.some((m) => m.x !== undefined) ? 18 : 6, right: 10 } },
    plugins: { legend: { display: false }, tooltip: tooltip(lines) },
    extras: { band: view.band, marks, vertical: view.kind === "bars" || view.kind === "dots" },
  };
  return options;
}

/** Factor that draws single points of (nearly) equal x side by side. */
function sideBySide(view, series) {
  const close = view.series.filter((s) => !hiddenArms.has(s.arm) && Math.abs(Math.log(s.x[0] / series.x[0])) < 0.03);
  const place = close.indexOf(series) - (close.length - 1) / 2;
  return 1.13 ** (place * Math.min(1, 3 / close.length));
}

function pointsConfig(view, scales) {
  const isLine = view.kind === "line";
  const kept = (v, type) => Number.isFinite(v) && (type !== "logarithmic" || v > 0);
  const xs = view.series.flatMap((s) => s.x);
  const ys = view.series.flatMap((s) => s.y).concat((view.marks || []).map((m) => m.y));
  const datasets = view.series.map((s) => {
    const color = armColor(s);
    const shift = isLine ? 1 : sideBySide(view, s);
    const rows = s.x.map((x, i) => [x, s.y[i], i]).filter(([x, y]) => kept(x, scales.x) && kept(y, scales.y));
    return {
      source: s, label: seriesName(s), data: rows.map(([x, y]) => ({ x: x * shift, y, at: x })), hidden: hiddenArms.has(s.arm),
      intervals: s.low ? rows.map(([, , i]) => [s.low[i], s.high[i]]) : null,
      showLine: isLine, borderColor: color, backgroundColor: isLine || s.run === 0 ? color : theme("--back"), borderDash: DASHES[s.run % DASHES.length],
      borderWidth: isLine || s.run ? 2 : 1.5, tension: 0, pointStyle: (DATA.looks[s.arm] || {}).marker || "circle",
      pointRadius: isLine ? (view.small || rows.length > 30 ? 0 : 4) : 7, pointHoverRadius: 7, pointHitRadius: 8,
    };
  });
  const lines = (item) => {
    const s = item.dataset.source;
    const interval = (item.dataset.intervals || [])[item.dataIndex];
    const range = interval && interval[0] !== null && interval[0] !== interval[1]
      ? ` [${shown(interval[0], view.y.format)}, ${shown(interval[1], view.y.format)}]` : "";
    return [item.dataset.label, `${view.y.title}: ${shown(item.raw.y, view.y.format)}${range}`,
      `${view.x.title}: ${shown(item.raw.at, view.x.format)}`, `(${s.provenance || "derived"})`];
  };
  const options = baseOptions(view, lines);
  options.scales = { x: scaleOf(view.x, xs, scales.x), y: scaleOf(view.y, ys, scales.y) };
  if (view.y.clip) [options.scales.y.min, options.scales.y.max] = clipped(view);
  const marks = (view.marks || []).map((m) => m.y).filter((v) => v !== undefined);
  if (marks.length && !view.y.clip) options.scales.y.suggestedMax = Math.max(...marks) * 1.3;
  const positive = xs.filter((v) => v > 0);
  if (scales.x === "logarithmic" && positive.length) {
    const room = view.x.room || (isLine ? 1 : 2.2);
    Object.assign(options.scales.x, { min: Math.min(...positive) / room, max: Math.max(...positive) * room });
  }
  return { type: "scatter", data: { datasets }, options, plugins: [extras] };
}

function rowsConfig(view, scales) {
  const stacked = view.kind === "bars";
  const rows = view.rows.map((row, i) => [row, i]).filter(([row]) => !hiddenArms.has(row.arm));
  const values = view.series.flatMap((s) => s.values);
  const datasets = view.series.map((s, number) => ({
    source: s, label: s.name, data: rows.map(([, i]) => s.values[i]), hidden: view.off && view.off.has(s.name),
    intervals: s.low ? rows.map(([, i]) => [s.low[i], s.high[i]]) : null,
    backgroundColor: pick(s.color), borderColor: stacked ? theme("--back") : pick(s.color), borderWidth: stacked ? 1 : 1.5,
    stack: stacked ? "all" : undefined, showLine: false, pointStyle: DOTS[number % DOTS.length], pointRadius: 6,
    pointHoverRadius: 8, maxBarThickness: 26,
  }));
  const lines = (item) => {
    const interval = (item.dataset.intervals || [])[item.dataIndex];
    const range = interval && interval[0] !== null ? ` [${shown(interval[0], view.x.format)}, ${shown(interval[1], view.x.format)}]` : "";
    return [rows[item.dataIndex][0].name, `${item.dataset.label}: ${shown(item.raw, view.x.format)}${range}`,
      `(${item.dataset.source.provenance || "derived"})`];
  };
  const options = baseOptions(view, lines);
  const narrow = window.innerWidth < 640;
  const short = (name) => (narrow && name.length > 15 ? `${name.slice(0, 9)}…${name.slice(-5)}` : name.length > 30 ? `${name.slice(0, 19)}…${name.slice(-10)}` : name);
  options.indexAxis = "y";
  options.scales = {
    x: { ...scaleOf(view.x, values, scales.x), stacked, ...(stacked ? { beginAtZero: true } : {}) },
    y: { type: "category", stacked, offset: true, grid: { display: !stacked, color: theme("--grid") },
      ticks: { color: theme("--ink"), autoSkip: false, callback(i) { return short(this.getLabelForValue(i)); } } },
  };
  const signed = values.some((v) => v < 0);
  if (!stacked && scales.x !== "logarithmic") Object.assign(options.scales.x, signed ? { grace: "6%" } : { min: 0 });
  if (view.x.reach) options.scales.x.suggestedMax = view.x.reach;
  if (!stacked && view.band) {
    options.scales.x.suggestedMin = view.band.low * 1.6;
    options.scales.x.suggestedMax = view.band.high * 1.6;
  }
  options.interaction = { mode: "nearest", intersect: stacked, axis: "xy" };
  return { type: stacked ? "bar" : "line", data: { labels: rows.map(([row]) => row.name), datasets }, options, plugins: [extras], rows: rows.length };
}

function columnsConfig(view, scales) {
  const values = view.series.flatMap((s) => s.values);
  const datasets = view.series.map((s) => ({ source: s, label: s.name, data: s.values, maxBarThickness: 60,
    backgroundColor: pick(NEUTRAL[s.run % NEUTRAL.length]) }));
  const options = baseOptions(view, (item) => [`${item.label} ${view.x.title}`, `${shown(item.raw, view.y.format)} of users`,
    ...(several ? [item.dataset.label] : []), `(${item.dataset.source.provenance})`]);
  options.interaction = { mode: "nearest", intersect: false, axis: "x" };
  options.scales = { y: { ...scaleOf(view.y, values, scales.y), beginAtZero: true },
    x: { type: "category", title: { display: true, text: view.x.title, color: theme("--dim") }, grid: { display: false }, ticks: { color: theme("--dim") } } };
  return { type: "bar", data: { labels: view.categories, datasets }, options, plugins: [extras] };
}

function configOf(view, scales) {
  if (view.kind === "line" || view.kind === "points") return pointsConfig(view, scales);
  return view.kind === "columns" ? columnsConfig(view, scales) : rowsConfig(view, scales);
}

// --------------------------------------------------------------------------------------- legend

function legendMark(color, marker, dash) {
  const canvas = make("canvas", { width: 39, height: 24, "aria-hidden": "true" });
  const ctx = canvas.getContext("2d");
  ctx.scale(1.5, 1.5);
  Object.assign(ctx, { strokeStyle: color, fillStyle: color, lineWidth: 2 });
  if (dash) { ctx.setLineDash(dash); ctx.beginPath(); ctx.moveTo(1, 8); ctx.lineTo(25, 8); ctx.stroke(); ctx.setLineDash([]); }
  if (marker) Chart.helpers.drawPoint(ctx, { pointStyle: marker, radius: 5, borderWidth: 2 }, 13, 8);
  return canvas;
}

function armButtons(view) {
  const arms = view.kind === "map" ? mapArms(view) : [...new Set(view.series.map((s) => s.arm).filter(Boolean))];
  return arms.map((arm) => {
    const look = DATA.looks[arm];
    const button = make("button", { type: "button", "aria-pressed": String(!hiddenArms.has(arm)), title: DATA.words[arm] || null },
      legendMark(look ? pick(look) : theme("--ink"), view.kind === "map" ? "rect" : look ? look.marker : "circle", view.kind === "line" ? [] : null), DATA.labels[arm] || arm);
    button.addEventListener("click", () => toggleArm(arm));
    button.dataset.arm = arm;
    return button;
  });
}

function runSamples(view) {
  if (!several) return [];
  if (view.kind !== "line") return [make("span", { class: "text" }, `filled: ${DATA.runs[0]}; hollow: ${DATA.runs.slice(1).join(", ")}`)];
  const runs = [...new Set(view.series.map((s) => s.run))];
  const own = view.series.every((s) => !s.arm);
  return runs.map((run) => make("span", { class: "text" },
    legendMark(own ? pick(NEUTRAL[run % NEUTRAL.length]) : theme("--dim"), null, DASHES[run % DASHES.length]), DATA.runs[run]));
}

function seriesButtons(figure, view) {
  view.off = view.off || new Set();
  return view.series.map((s, number) => {
    const color = pick(s.color || NEUTRAL[(s.run || 0) % NEUTRAL.length]);
    const mark = legendMark(color, view.kind === "dots" ? DOTS[number % DOTS.length] : "rect", null);
    const button = make("button", { type: "button", "aria-pressed": String(!view.off.has(s.name)) }, mark, s.name);
    button.addEventListener("click", () => {
      if (!view.off.delete(s.name)) view.off.add(s.name);
      figure.draw();
    });
    return button;
  });
}

function toggleArm(arm) {
  if (!hiddenArms.delete(arm)) hiddenArms.add(arm);
  const focused = document.activeElement;
  const panel = focused && focused.closest ? focused.closest(".panel") : null;
  redrawAll();
  const again = panel && [...panel.querySelectorAll(".legend button")].find((b) => b.dataset.arm === arm);
  if (again) again.focus();
}

// --------------------------------------------------------------------------------------- figure

class Figure {
  constructor(element) {
    this.element = element;
    this.panel = DATA.panels[Number(element.dataset.panel)];
    this.number = 0;
    this.scales = this.panel.views.map((view) => ({
      x: view.x && view.x.scale === "log" ? "logarithmic" : "linear", y: view.y && view.y.scale === "log" ? "logarithmic" : "linear" }));
    this.tools();
    this.legend();
  }

  get view() { return this.panel.views[this.number]; }

  tools() {
    const tools = this.element.querySelector(".tools");
    if (this.panel.views.length > 1) {
      const select = make("select", {});
      this.panel.views.forEach((view, i) => select.append(make("option", { value: i }, view.label)));
      select.addEventListener("change", () => { this.number = Number(select.value); this.buttons(); this.legend(); this.draw(); this.behind(); });
      tools.append(make("label", {}, "Show ", select));
    }
    this.scaleButtons = make("span", {});
    tools.append(this.scaleButtons);
    this.buttons();
    this.element.querySelector(".behind").addEventListener("toggle", () => this.behind());
  }

  buttons() {
    const numeric = { line: ["x", "y"], points: ["x", "y"], dots: ["x"], bars: [], columns: [], map: [] }[this.view.kind];
    const words = { x: "horizontal", y: "vertical" };
    const kept = numeric.filter((name) => this.canLog(name));
    this.scaleButtons.replaceChildren(...kept.map((name) => {
      const now = this.scales[this.number];
      const button = make("button", { type: "button", class: "control", "aria-pressed": String(now[name] === "logarithmic") },
        kept.length > 1 ? `Log ${words[name]}` : "Log scale");
      button.dataset.axis = name;
      button.addEventListener("click", () => {
        now[name] = now[name] === "logarithmic" ? "linear" : "logarithmic";
        button.setAttribute("aria-pressed", String(now[name] === "logarithmic"));
        this.draw();
      });
      return button;
    }));
  }

  canLog(name) {
    const values = this.view.rows ? this.view.series.flatMap((s) => s.values) : this.view.series.flatMap((s) => s[name]);
    const finite = values.filter((v) => Number.isFinite(v));
    return finite.length > 0 && finite.every((v) => v >= 0) && finite.some((v) => v > 0);
  }

  legend() {
    const view = this.view;
    const own = view.kind === "map" ? armButtons(view) : view.kind === "line" || view.kind === "points" ? [...armButtons(view), ...runSamples(view)]
      : view.series.length > 1 ? seriesButtons(this, view) : [];
    this.element.querySelector(".legend").replaceChildren(...own);
    this.element.querySelector(".note").textContent = view.note ? `${view.note}.`.replace(/\.\.$/, ".") : "";
  }

  draw() {
    if (!this.wanted) return;
    if (this.chart) this.chart.destroy();
    this.chart = null;
    if (this.view.kind === "map") { drawMap(this, this.element.querySelector(".chart")); this.chart = { destroy() {} }; return; }
    const config = configOf(this.view, this.scales[this.number]);
    const holder = this.element.querySelector(".chart");
    const canvas = make("canvas", { role: "img", tabindex: "0", "aria-label": this.summary() });
    const sheet = make("div", { class: "sheet" }, canvas);
    holder.replaceChildren(sheet);
    holder.style.height = "";
    if (config.rows) {
      const each = this.view.kind === "dots" ? ROW_PIXELS - 4 : ROW_PIXELS;
      const pixels = Math.max(140, 70 + each * config.rows);
      sheet.style.height = `${pixels}px`;
      holder.style.height = printing ? `${pixels}px` : `${Math.min(pixels, 560)}px`;
    }
    if (!sheet.isConnected) return;
    this.chart = new Chart(canvas, config);
    canvas.addEventListener("keydown", (event) => this.step(event));
    canvas.addEventListener("blur", () => this.point(null));
  }

  /** Arrow keys: along a line, and from line to line. */
  step(event) {
    const move = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0], Escape: null }[event.key];
    if (move === undefined) return;
    event.preventDefault();
    const sets = this.chart.data.datasets.map((d, i) => i).filter((i) => this.chart.isDatasetVisible(i) && this.chart.data.datasets[i].data.length);
    if (!move || !sets.length) { this.point(null); return; }
    const rows = Boolean(this.view.rows);
    const [line, along] = rows ? [move[1], move[0]] : move;
    const now = this.at || { set: -1, index: 0 };
    const order = Math.max(sets.indexOf(now.set), 0);
    const set = sets[(order + (this.at ? line : 0) + sets.length) % sets.length];
    const length = this.chart.data.datasets[set].data.length;
    this.point({ set, index: Math.min(Math.max(now.index + (this.at ? along : 0), 0), length - 1) });
  }

  point(at) {
    this.at = at;
    if (!this.chart || !this.chart.ctx) return;
    const active = at ? [{ datasetIndex: at.set, index: at.index }] : [];
    const element = at ? this.chart.getDatasetMeta(at.set).data[at.index] : { x: 0, y: 0 };
    this.chart.setActiveElements(active);
    this.chart.tooltip.setActiveElements(active, { x: element.x, y: element.y });
    this.chart.update("none");
  }

  summary() {
    const view = this.view;
    if (view.kind === "map") return `${this.panel.title} ${view.label}. ${view.rows_named.length} by ${view.columns.length} regimes; arrow keys go through them.`;
    const range = (values, format) => {
      const finite = values.filter((v) => Number.isFinite(v));
      return finite.length ? `${shown(Math.min(...finite), format)} to ${shown(Math.max(...finite), format)}` : MISSING;
    };
    const values = view.rows || view.categories ? view.series.flatMap((s) => s.values) : view.series.flatMap((s) => s.y);
    const axis = view.rows ? view.x : view.y;
    const what = view.rows ? `${view.rows.length} rows, ${view.series.length} values each` : `${view.series.length} series`;
    return `${this.panel.title} ${view.label ? `${view.label}. ` : ""}${what}; ${axis.title} from ${range(values, axis.format)}. The numbers are in the table below the figure.`;
  }

  behind() {
    const details = this.element.querySelector(".behind");
    if (!details.open) return;
    details.querySelector(".scroll").replaceChildren(numbersTable(this.view));
  }
}

function numbersTable(view) {
  if (view.kind === "map") return mapNumbers(view);
  const head = [];
  const body = [];
  if (view.rows) {
    head.push("strategy", ...view.series.map((s) => s.name));
    view.rows.forEach((row, i) => body.push([row.name, ...view.series.map((s) => shown(s.values[i], view.x.format, 4)
      + (s.low && s.low[i] !== null ? ` [${shown(s.low[i], view.x.format)}, ${shown(s.high[i], view.x.format)}]` : ""))]));
  } else if (view.categories) {
    head.push(view.x.title, ...view.series.map((s) => s.name));
    view.categories.forEach((name, i) => body.push([name, ...view.series.map((s) => shown(s.values[i], view.y.format, 4))]));
  } else {
    head.push("name", view.x.title, view.y.title);
    if (view.series.some((s) => s.low)) head.push(view.interval || "95 % interval");
    for (const s of view.series) {
      s.x.forEach((x, i) => body.push([seriesName(s), shown(x, view.x.format, 4), shown(s.y[i], view.y.format, 4),
        ...(s.low ? [s.low[i] === null ? MISSING : `${shown(s.low[i], view.y.format)} to ${shown(s.high[i], view.y.format)}`] : [])]));
    }
  }
  const most = 1000;
  const rows = body.slice(0, most).map((cells) => make("tr", {}, ...cells.map((cell, i) => make(i ? "td" : "th", i ? { class: cell === MISSING ? "missing" : "number" } : { scope: "row" }, cell))));
  if (body.length > most) rows.push(make("tr", {}, make("td", { colspan: head.length }, `${body.length - most} more rows: see All tables`)));
  return make("table", {}, make("thead", {}, make("tr", {}, ...head.map((name, i) => make("th", { scope: "col", class: i ? "number" : null }, name)))), make("tbody", {}, ...rows));
}

function redrawAll() {
  for (const figure of figures) { figure.legend(); figure.draw(); }
  document.getElementById("show-all").hidden = hiddenArms.size === 0;
  paintSwatches();
}

function paintSwatches() {
  document.querySelectorAll(".swatch").forEach((swatch) => {
    const look = DATA.looks[swatch.dataset.arm];
    if (look) swatch.style.background = pick(look);
  });
}
