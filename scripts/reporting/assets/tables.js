// Tables that sort and filter: the comparison (already in the page) and every table of the reports.
function compareKeys(a, b) {
  if (a === b) return 0;
  const [x, y] = [Number(a), Number(b)];
  if (a !== "" && b !== "" && !Number.isNaN(x) && !Number.isNaN(y)) return x - y;
  return String(a).localeCompare(String(b), "en", { numeric: true });
}

/** Next direction of a column; the header cells say it to everyone. */
function turn(headers, header) {
  const next = header.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
  headers.forEach((h) => h.setAttribute("aria-sort", h === header ? next : "none"));
  return next === "ascending" ? 1 : -1;
}

function sortableTable(table) {
  const headers = [...table.tHead.rows[0].cells];
  headers.forEach((header, column) => header.querySelector("button").addEventListener("click", () => {
    const direction = turn(headers, header);
    const body = table.tBodies[0];
    const key = (row) => row.cells[column].dataset.sort;
    const rows = [...body.rows].sort((a, b) => {
      // What was not measured comes last either way.
      if ((key(a) === "") !== (key(b) === "")) return key(a) === "" ? 1 : -1;
      return direction * compareKeys(key(a), key(b));
    });
    body.append(...rows);
  }));
}

const counted = (n, total) => (n === total ? `${total} rows` : `${n} of ${total} rows`);

function filterComparison(input) {
  const table = document.getElementById(input.dataset.table);
  const count = document.querySelector(`[data-count="${input.dataset.table}"]`);
  const only = document.getElementById("show-filtered");
  input.addEventListener("input", () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    let kept = 0;
    const rows = [...table.tBodies[0].rows];
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
      kept += row.hidden ? 0 : 1;
    }
    count.textContent = counted(kept, rows.length);
    only.hidden = kept === rows.length;
  });
  only.addEventListener("click", () => {
    hiddenArms.clear();
    const rows = [...table.tBodies[0].rows];
    const arm = (row) => row.querySelector(".swatch").dataset.arm;
    rows.filter((row) => row.hidden).forEach((row) => hiddenArms.add(arm(row)));
    rows.filter((row) => !row.hidden).forEach((row) => hiddenArms.delete(arm(row)));
    redrawAll();
  });
}

// ------------------------------------------------------------------------------- report tables

const PAGE_ROWS = 200;
const isText = (column) => column.texts !== undefined;
const valueAt = (column, row) => (isText(column) ? column.texts[column.codes[row]] : column.values[row]);

function cellText(column, value) {
  if (value === null) return MISSING;
  if (isText(column) || typeof value === "string") return value;
  if (Number.isInteger(value)) return value.toLocaleString("en");
  return significant(value, 6);
}

class RawTable {
  constructor(details) {
    this.data = DATA.tables[Number(details.dataset.index)];
    this.order = Array.from({ length: this.data.rows }, (_, i) => i);
    this.limit = PAGE_ROWS;
    this.words = [];
    this.build(details.querySelector(".content"));
    this.fill();
  }

  build(content) {
    const search = make("input", { type: "search", class: "filter", autocomplete: "off", spellcheck: "false" });
    search.addEventListener("input", () => { this.words = search.value.toLowerCase().split(/\s+/).filter(Boolean); this.fill(); });
    this.count = make("span", { class: "count", role: "status", "aria-live": "polite" });
    const headers = this.data.columns.map((column) => make("th", { scope: "col", "aria-sort": "none", class: isText(column) ? null : "number" },
      make("button", { type: "button", title: column.meaning }, column.name),
      make("span", { class: `badge ${column.provenance.replace(/\W/g, "")}` }, column.provenance),
      ...(["text", "1", ""].includes(column.unit) ? [] : [make("small", {}, column.unit)])));
    headers.forEach((header, i) => header.querySelector("button").addEventListener("click", () => this.sort(headers, i)));
    this.body = make("tbody");
    const caption = `${this.data.name}: ${this.data.meaning}${this.data.calibration ? `. Calibration ${this.data.calibration}` : ""}`;
    const table = make("table", {}, make("caption", { class: "hidden" }, caption), make("thead", {}, make("tr", {}, ...headers)), this.body);
    this.more = make("button", { type: "button", class: "control" }, "Show all rows");
    this.more.addEventListener("click", () => { this.limit = Infinity; this.fill(); });
    const meanings = make("details", {}, make("summary", {}, "What the columns mean"), make("dl", {},
      ...this.data.columns.flatMap((c) => [make("dt", {}, c.name), make("dd", {}, c.meaning)])));
    content.append(make("div", { class: "tools" }, make("label", {}, "Filter ", search), this.count),
      make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `Table ${this.data.name}` }, table), this.more, meanings);
  }

  sort(headers, index) {
    const direction = turn(headers, headers[index]);
    const column = this.data.columns[index];
    const key = this.order.map((row) => [row, valueAt(column, row)]);
    key.sort(([, a], [, b]) => {
      if ((a === null) !== (b === null)) return a === null ? 1 : -1;
      return direction * (typeof a === "number" && typeof b === "number" ? a - b : compareKeys(a, b));
    });
    this.order = key.map(([row]) => row);
    this.fill();
  }

  fill() {
    const { columns } = this.data;
    const kept = this.words.length ? this.order.filter((row) => {
      const text = columns.map((c) => cellText(c, valueAt(c, row))).join(" ").toLowerCase();
      return this.words.every((word) => text.includes(word));
    }) : this.order;
    const rows = kept.slice(0, this.limit).map((row) => make("tr", {}, ...columns.map((column) => {
      const value = valueAt(column, row);
      return make("td", { class: value === null ? "missing number" : isText(column) ? null : "number" }, cellText(column, value));
    })));
    this.body.replaceChildren(...rows);
    this.count.textContent = counted(kept.length, this.data.rows) + (kept.length > rows.length ? `, the first ${rows.length} shown` : "");
    this.more.hidden = kept.length <= rows.length;
  }
}
