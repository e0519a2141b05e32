// The regime map: a table, so that it can be read, focused, searched and printed. Colours are the strategies'.
/** The colour, thinned so that text stands out on it. */
function thin(color) {
  return `${color}${isDark() && !printing ? "66" : "45"}`;
}

function mapCell(cell, place) {
  if (!cell) return make("td", { class: "none" }, "none");
  const label = [place, ...cell.told].join("; ");
  const element = make("td", { title: cell.told.join("\n"), tabindex: "-1", "aria-label": label, "data-arm": cell.arm },
    make("strong", {}, cell.head), make("span", {}, cell.words), make("small", {}, cell.foot));
  if (cell.doubt) element.append(make("b", { class: "doubt", "aria-hidden": "true" }, "?"));
  if (cell.tie) element.classList.add("tie");
  else if (DATA.looks[cell.arm]) element.style.background = thin(pick(DATA.looks[cell.arm]));
  if (hiddenArms.has(cell.arm)) element.classList.add("off");
  return element;
}

/** Arrow keys go from cell to cell; what a cell says beyond its text stands below the map. */
function mapKeys(table, say) {
  const at = (row, column) => (table.tBodies[0].rows[row] || { cells: [] }).cells[column + 1];
  table.addEventListener("keydown", (event) => {
    const move = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] }[event.key];
    if (!move) return;
    event.preventDefault();
    const cell = document.activeElement.closest("td");
    const [row, column] = cell ? [cell.parentElement.sectionRowIndex + move[0], cell.cellIndex - 1 + move[1]] : [0, 0];
    const next = at(row, column);
    if (next) next.focus();
  });
  for (const kind of ["focusin", "pointerover"]) {
    table.addEventListener(kind, (event) => {
      const cell = event.target.closest("td[title]");
      if (cell) say.textContent = cell.getAttribute("aria-label");
    });
  }
}

function drawMap(figure, holder) {
  const view = figure.view;
  const head = [make("tr", {}, make("th", { scope: "col", rowspan: "2" }, view.y.title), make("th", { scope: "colgroup", colspan: view.columns.length }, view.x.title)),
    make("tr", {}, ...view.columns.map((name) => make("th", { scope: "col" }, name)))];
  const rows = view.cells.map((cells, i) => make("tr", {}, make("th", { scope: "row" }, view.rows_named[i]),
    ...cells.map((cell, j) => mapCell(cell, `${view.rows_named[i]} items, ${view.columns[j]} candidates`))));
  const table = make("table", { class: "map", tabindex: "0", "aria-label": figure.summary() }, make("thead", {}, ...head), make("tbody", {}, ...rows));
  const say = make("p", { class: "told", role: "status", "aria-live": "polite" }, "Point at a cell for its numbers.");
  mapKeys(table, say);
  holder.style.height = "auto";
  holder.replaceChildren(make("div", { class: "sheet" }, table), say);
}

function mapArms(view) {
  return [...new Set(view.cells.flat().filter((cell) => cell && !cell.tie).map((cell) => cell.arm))];
}

function mapNumbers(view) {
  const head = make("tr", {}, ...[view.y.title, view.x.title, "winner", "numbers"].map((name) => make("th", { scope: "col" }, name)));
  const rows = view.cells.flatMap((cells, i) => cells.map((cell, j) => make("tr", {}, make("th", { scope: "row" }, view.rows_named[i]),
    make("td", {}, view.columns[j]), make("td", {}, cell ? cell.told[0] : "none"), make("td", {}, cell ? cell.told.slice(1).join("; ") : "no strategy within the promise"))));
  return make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows));
}
