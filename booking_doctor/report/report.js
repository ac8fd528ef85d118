
"use strict";
(() => {
  const every = document.getElementById("every");
  if (every) {
    const body = every.tBodies[0];
    const rows = [...body.rows].map((row) => ({ row, text: row.textContent.toLowerCase(), severity: row.className }));
    const form = document.querySelector(".filters");
    const filter = document.getElementById("filter");
    const shown = document.getElementById("shown");
    const show = () => {
      const wanted = filter.value.trim().toLowerCase().split(/\s+/);
      const severities = new Set([...form.querySelectorAll("input:checked")].map((box) => box.value));
      let number = 0;
      for (const { row, text, severity } of rows) {
        row.hidden = !(severities.has(severity) && wanted.every((word) => text.includes(word)));
        number += row.hidden ? 0 : 1;
      }
      shown.textContent = `${number.toLocaleString("en")} of ${rows.length.toLocaleString("en")} shown`;
    };
    const sort = (heading, column) => {
      const up = heading.getAttribute("aria-sort") !== "ascending";
      for (const other of every.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      heading.setAttribute("aria-sort", up ? "ascending" : "descending");
      const rank = { error: "0", warning: "1", info: "2" };
      const key = ({ row }) => (column ? row.cells[column].textContent : rank[row.cells[0].textContent]);
      const keyed = rows.map((one) => [key(one), one.row]);
      keyed.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0) * (up ? 1 : -1));
      body.append(...keyed.map(([, row]) => row));
    };
    [...every.tHead.rows[0].cells].forEach((heading, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = heading.textContent;
      button.addEventListener("click", () => sort(heading, column));
      heading.replaceChildren(button);
    });
    form.addEventListener("input", show);
    form.addEventListener("submit", (event) => event.preventDefault());
    form.hidden = false;
    show();
  }

  const copied = async (code) => {
    try {
      await navigator.clipboard.writeText(code.textContent);
    } catch {
      // A file opened from the disk may be refused the clipboard; what is selected can still be copied.
      const range = document.createRange();
      range.selectNodeContents(code);
      getSelection().removeAllRanges();
      getSelection().addRange(range);
      return document.execCommand("copy");
    }
    return true;
  };
  for (const button of document.querySelectorAll(".copy")) {
    const code = button.parentElement.querySelector("code");
    button.hidden = false;
    button.addEventListener("click", async () => {
      button.textContent = (await copied(code)) ? "Copied" : "Selected";
      setTimeout(() => { button.textContent = "Copy"; }, 2000);
    });
  }
})();
