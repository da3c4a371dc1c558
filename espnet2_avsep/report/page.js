// Makes the titles of tables buttons that sort by their column.
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
  const numeric = rows.every((row) => value(row) !== "" && !isNaN(value(row)));
  const before = titles[column].getAttribute("aria-sort");
  // Numbers begin with the greatest, words with A.
  const first = numeric ? "descending" : "ascending";
  const other = numeric ? "ascending" : "descending";
  const order = before === first ? other : first;
  const sign = order === "ascending" ? 1 : -1;
  rows.sort((a, b) =>
    sign * (numeric ? value(a) - value(b) : value(a).localeCompare(value(b))));
  titles.forEach((title) => title.removeAttribute("aria-sort"));
  titles[column].setAttribute("aria-sort", order);
  table.tBodies[0].append(...rows);
}
