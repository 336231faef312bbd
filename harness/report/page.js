"use strict";
// Tables sort by a click on a heading, show only the rows that hold every word of the filter, and some columns
// only when asked.
for (const table of document.querySelectorAll("table.data")) {
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const headings = [...table.tHead.rows[0].cells];

  const keyOf = (row, column) => {
    const cell = row.cells[column];
    if (!("value" in cell.dataset)) return cell.textContent === "–" ? null : cell.textContent;
    return cell.dataset.value === "" ? null : Number(cell.dataset.value);
  };
  const compare = (a, b) => (typeof a === "number" ? a - b : a.localeCompare(b, "en", { numeric: true }));

  headings.forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => {
      const rising = heading.getAttribute("aria-sort") !== "ascending";
      for (const other of headings) other.removeAttribute("aria-sort");
      heading.setAttribute("aria-sort", rising ? "ascending" : "descending");
      const keyed = rows.map((row) => [keyOf(row, column), row]);
      // What is unknown comes last, whichever way.
      keyed.sort(([a], [b]) => (a === null) - (b === null) || (a === null ? 0 : (rising ? 1 : -1) * compare(a, b)));
      body.append(...keyed.map(([, row]) => row));
    });
  });

  const box = table.parentElement;
  const bar = document.createElement("div");
  bar.className = "filter";
  box.before(bar);

  if (rows.length > 1) {
    const input = document.createElement("input");
    input.type = "search";
    input.placeholder = "filter: words that a row must have";
    input.setAttribute("aria-label", `filter the rows of ${table.dataset.name}`);
    const count = document.createElement("output");
    bar.append(input, count);
    const show = () => {
      const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0;
      for (const row of rows) {
        const text = row.textContent.toLowerCase();
        row.hidden = !words.every((word) => text.includes(word));
        shown += !row.hidden;
      }
      count.textContent = `${shown} of ${rows.length}`;
    };
    input.addEventListener("input", show);
    show();
  }

  if (headings.some((heading) => heading.classList.contains("more"))) {
    const toggle = document.createElement("button");
    toggle.type = "button";
    const turn = () => {
      const brief = table.classList.toggle("brief");
      toggle.textContent = brief ? `all ${headings.length} columns` : "fewer columns";
    };
    toggle.addEventListener("click", turn);
    turn();
    bar.append(toggle);
  }

  const hint = document.createElement("span");
  hint.textContent = "more columns: scroll sideways →";
  bar.append(hint);
  const watch = new ResizeObserver(() => {
    hint.hidden = box.scrollWidth <= box.clientWidth;
  });
  watch.observe(box);
  watch.observe(table);
}
