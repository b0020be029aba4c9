// What the page does besides drawing: filter, sort, copy, light and dark, print.

const figures = [...document.querySelectorAll("[data-chart]")].map((figure) => new Figure(figure, DATA.charts[figure.dataset.chart]));
const filter = document.querySelector("form.filter");

// ---- filter

const tagged = [...document.querySelectorAll("[data-arm], [data-labels], [data-checkpoint]")].map((one) => {
  return { one, tags: Object.entries(one.dataset).filter(([tag]) => ["arm", "labels", "checkpoint"].includes(tag)) };
});

/** The chosen values of each tag, as sets. */
function chosen() {
  const state = { arm: new Set(), labels: new Set(), checkpoint: new Set() };
  for (const input of filter.querySelectorAll("input:checked")) state[input.name].add(input.value);
  return state;
}

function show() {
  const state = chosen();
  for (const { one, tags } of tagged) one.hidden = !tags.every(([tag, value]) => state[tag].has(value));
  for (const figure of figures) figure.draw(state);
}

for (const input of filter.querySelectorAll("input[name=arm]")) {
  const swatch = input.parentElement.querySelector(".swatch");
  key(swatch, input.value, "");
}
filter.addEventListener("change", show);
filter.addEventListener("submit", (event) => event.preventDefault());

// ---- sort

/** Sorts a table by a column: numbers as such, texts by letter, empty places last; again, the other way round. */
function sort(header) {
  const row = header.parentElement, body = header.closest("table").tBodies[0], column = header.cellIndex;
  const rising = header.getAttribute("aria-sort") !== "ascending";
  for (const other of row.cells) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", rising ? "ascending" : "descending");
  const value = (tr) => tr.cells[column].dataset.value;
  const sorted = [...body.rows].sort((a, b) => {
    const [one, two] = [value(a), value(b)];
    if (one === "" || two === "") return (one === "") - (two === "");
    const order = isNaN(one) || isNaN(two) ? one.localeCompare(two, "en", { numeric: true }) : one - two;
    return rising ? order : -order;
  });
  body.append(...sorted);
}

for (const button of document.querySelectorAll("th > button")) button.addEventListener("click", () => sort(button.parentElement));

// ---- copy

for (const button of document.querySelectorAll("button.copy")) {
  button.addEventListener("click", async () => {
    const text = button.previousElementSibling;
    getSelection().selectAllChildren(text); // to copy by hand, where the browser does not let a page copy
    try {
      await navigator.clipboard.writeText(text.textContent);
      button.textContent = "Copied";
    } catch {
      button.textContent = document.execCommand("copy") ? "Copied" : "Press Ctrl-C";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });
}

// ---- light and dark, print

const root = document.documentElement;
document.getElementById("theme").addEventListener("click", () => {
  const now = root.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  root.dataset.theme = now === "dark" ? "light" : "dark";
});

show();
