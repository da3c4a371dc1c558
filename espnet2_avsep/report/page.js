// Makes the titles of tables buttons that sort by their column, puts a field that filters
// rows above some tables, and makes players where a mixture is opened.
"use strict";
for (const table of document.querySelectorAll("table.sortable")) {
  const titles = [...table.tHead.rows[0].cells];
  titles.forEach((title, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...title.childNodes);
    title.append(button);
    button.addEventListener("click", () => sort(table, titles, column));
  });
}

function sort(table, titles, column) {
  const rows = [...table.tBodies[0].rows];
  const value = (row) => {
    const cell = row.cells[column];
    return cell.dataset.value ?? cell.textContent;
  };
  const filled = rows.filter((row) => value(row) !== "");
  const empty = rows.filter((row) => value(row) === "");
  const numeric = filled.every((row) => !isNaN(value(row)));
  const before = titles[column].getAttribute("aria-sort");
  // Numbers begin with the greatest, words with A.
  const first = numeric ? "descending" : "ascending";
  const other = numeric ? "ascending" : "descending";
  const order = before === first ? other : first;
  const sign = order === "ascending" ? 1 : -1;
  filled.sort((a, b) =>
    sign * (numeric ? value(a) - value(b) : value(a).localeCompare(value(b))));
  titles.forEach((title) => title.removeAttribute("aria-sort"));
  titles[column].setAttribute("aria-sort", order);
  table.tBodies[0].append(...filled, ...empty);
}

for (const table of document.querySelectorAll("table.filterable")) {
  const field = document.createElement("input");
  field.type = "search";
  field.spellcheck = false;
  const label = document.createElement("label");
  label.append("Show rows with ", field);
  const count = document.createElement("output");
  const bar = document.createElement("div");
  bar.className = "filter";
  bar.append(label, count);
  table.parentElement.before(bar);
  field.addEventListener("input", () => filter(table, field.value, count));
  filter(table, "", count);
}

function filter(table, text, count) {
  const plain = (words) => words.toLowerCase().replace(/\s+/g, "");
  const titles = [...table.tHead.rows[0].cells].map((cell) => plain(cell.textContent));
  const tests = text.trim().split(/\s+/).filter(Boolean).map((word) => {
    const found = word.match(/^(.+?)(<|>)(-?\d+\.?\d*)$/);
    const column = found ? titles.indexOf(plain(found[1])) : -1;
    if (column < 0) {
      const wanted = word.toLowerCase();
      return (row) => row.textContent.toLowerCase().includes(wanted);
    }
    return (row) => {
      const cell = row.cells[column];
      const value = parseFloat(cell.dataset.value ?? cell.textContent);
      return found[2] === "<" ? value < found[3] : value > found[3];
    };
  });
  const rows = [...table.tBodies[0].rows];
  for (const row of rows) row.hidden = !tests.every((test) => test(row));
  count.textContent =
    `${rows.filter((row) => !row.hidden).length} of ${rows.length} rows`;
}

for (const pair of document.querySelectorAll("details.pair")) {
  pair.addEventListener("toggle", () => {
    if (pair.open) makePlayers(pair);
    else for (const player of pair.querySelectorAll("audio")) player.pause();
  });
}

function makePlayers(pair) {
  for (const link of pair.querySelectorAll("a.sound")) {
    if (link.dataset.player) continue;
    link.dataset.player = "yes";
    const player = document.createElement("audio");
    player.controls = true;
    player.preload = "metadata";
    player.src = link.getAttribute("href");
    player.setAttribute("aria-label", link.getAttribute("aria-label"));
    player.addEventListener("play", () => takeOver(pair, player));
    link.closest("figcaption").before(player);
  }
}

// The player that starts goes on where the one that it stops was.
function takeOver(pair, player) {
  for (const other of document.querySelectorAll("audio")) {
    if (other === player || other.paused) continue;
    other.pause();
    if (pair.contains(other)) player.currentTime = other.currentTime;
  }
}

function openTarget() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!target?.matches("details.pair")) return;
  target.open = true;
  target.querySelector("summary").focus();
  target.scrollIntoView();
}
addEventListener("hashchange", openTarget);
document.addEventListener("click", (event) => {
  const link = event.target.closest("a[href^='#pair-']");
  if (link && link.hash === location.hash) openTarget();
});
openTarget();
