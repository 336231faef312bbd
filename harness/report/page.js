"use strict";
// Tables sort by a click on a heading, show only the rows that hold every word of the filter, and some columns
// only when asked. Where a table or a figure goes on sideways, words say so.

// What a filter asks for: its words, and what stands in quotes as it stands; a number is meant whole, with or without
// the commas between its thousands.
const asked = (text) => {
  const terms = (text.toLowerCase().match(/"[^"]*"?|[^\s"]+/g) ?? []).map((term) => term.replaceAll('"', "").trim());
  return terms.filter(Boolean).map((term) => {
    const words = term.split(/\s+/);
    const isNumber = (word) => /^\d[\d.,]*$/.test(word);
    const before = isNumber(words[0]) ? "(?<![\\p{L}\\p{N}_]|\\d[.,])" : "";
    const after = isNumber(words.at(-1)) ? "(?![\\p{L}\\p{N}_]|[.,]\\d)" : "";
    const escaped = words.map((word) => word.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&"));
    const own = escaped.map((word, i) => (isNumber(words[i]) ? word.replace(/\d(?=\d)/g, "$&,?") : word)).join("\\s+");
    return new RegExp(before + own + after, "u");
  });
};

// Shows a hint as long as there is more of a box's content sideways.
const told = (box, hint) => {
  const watch = new ResizeObserver(() => {
    hint.hidden = box.scrollWidth <= box.clientWidth;
  });
  watch.observe(box);
  watch.observe(box.firstElementChild);
};

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

  let show = () => {};
  if (rows.length > 1) {
    const input = document.createElement("input");
    input.type = "search";
    input.placeholder = 'filter: words, whole numbers, "batch 1"';
    input.title = "rows that have each of them in a column that is shown; what is in quotes stands together";
    input.setAttribute("aria-label", `filter the rows of ${table.dataset.name}`);
    const count = document.createElement("output");
    bar.append(input, count);
    show = () => {
      const terms = asked(input.value);
      const isShown = (cell) => !(table.classList.contains("brief") && cell.classList.contains("more"));
      let shown = 0;
      for (const row of rows) {
        const texts = [...row.cells].filter(isShown).map((cell) => cell.textContent.toLowerCase());
        row.hidden = !terms.every((term) => texts.some((text) => term.test(text)));
        shown += !row.hidden;
      }
      const some = terms.length && table.classList.contains("brief");
      count.textContent = `${shown} of ${rows.length}${some ? " in the columns shown" : ""}`;
    };
    input.addEventListener("input", show);
  }

  if (headings.some((heading) => heading.classList.contains("more"))) {
    const toggle = document.createElement("button");
    toggle.type = "button";
    const turn = () => {
      const brief = table.classList.toggle("brief");
      toggle.textContent = brief ? `all ${headings.length} columns` : "fewer columns";
      show();
    };
    toggle.addEventListener("click", turn);
    turn();
    bar.append(toggle);
  }
  show();

  const hint = document.createElement("span");
  hint.textContent = "more columns: scroll sideways →";
  bar.append(hint);
  told(box, hint);
}

for (const box of document.querySelectorAll("figure")) {
  const hint = document.createElement("p");
  hint.className = "note";
  hint.textContent = "more of the figure: scroll sideways →";
  box.before(hint);
  told(box, hint);
}
