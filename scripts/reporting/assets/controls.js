// Starts everything: theme, tables, figures as they come into view, copy, print.
function startTheme() {
  const button = document.getElementById("theme");
  const say = () => {
    button.textContent = isDark() ? "Light" : "Dark";
    button.setAttribute("aria-label", `Switch to ${isDark() ? "light" : "dark"} colours`);
    button.setAttribute("aria-pressed", String(isDark()));
  };
  button.addEventListener("click", () => {
    document.documentElement.dataset.theme = isDark() ? "light" : "dark";
    say();
    redrawAll();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { say(); redrawAll(); });
  say();
}

function startFigures() {
  Chart.defaults.font.family = getComputedStyle(document.body).fontFamily;
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      seen.unobserve(entry.target);
      const figure = figures.find((one) => one.element === entry.target);
      figure.wanted = true;
      if (!figure.chart) figure.draw();
    }
  }, { rootMargin: "300px" });
  document.querySelectorAll(".panel").forEach((element) => {
    figures.push(new Figure(element));
    seen.observe(element);
  });
  document.getElementById("show-all").addEventListener("click", () => { hiddenArms.clear(); redrawAll(); });
}

function fallbackCopy(text) {
  const area = make("textarea", { "aria-hidden": "true" });
  area.value = text;
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  return done;
}

function startCopy() {
  document.querySelectorAll(".copy").forEach((button) => button.addEventListener("click", async () => {
    const text = DATA.specs[Number(button.dataset.run)];
    let done = false;
    try {
      await navigator.clipboard.writeText(text);
      done = true;
    } catch (refused) {
      done = fallbackCopy(text);
    }
    button.nextElementSibling.textContent = done ? "Copied." : "The browser refused; select the text below instead.";
  }));
}

function startPrint() {
  window.addEventListener("beforeprint", () => {
    printing = true;
    for (const figure of figures) figure.wanted = true;
    redrawAll();
  });
  window.addEventListener("afterprint", () => { printing = false; redrawAll(); });
}

startTheme();
document.querySelectorAll("table.sortable").forEach(sortableTable);
document.querySelectorAll("input.filter").forEach(filterComparison);
document.querySelectorAll("details.table").forEach((details) => {
  const fill = () => { if (details.open && !details.querySelector("table")) new RawTable(details); };
  details.addEventListener("toggle", fill);
  fill();  // some are open from the start
});
startFigures();
startCopy();
startPrint();
paintSwatches();
