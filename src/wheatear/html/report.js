// Tables are sorted by a click on a column's title, pictures open by a click on them.
"use strict";

function sortBy(title) {
  const row = title.parentElement;
  const body = row.closest("table").tBodies[0];
  const column = [...row.children].indexOf(title);
  const descending = title.getAttribute("aria-sort") === "ascending";
  const value = (line) => line.cells[column].dataset.value ?? line.cells[column].textContent;
  const order = (a, b) => value(a).localeCompare(value(b), undefined, { numeric: true });
  const number = (line) => (line.cells[column].dataset.value === "" ? -Infinity : Number(value(line)));
  const byNumber = title.classList.contains("number");
  const lines = [...body.rows].sort(byNumber ? (a, b) => number(a) - number(b) || 0 : order);
  body.append(...(descending ? lines.reverse() : lines));
  for (const each of row.children) each.removeAttribute("aria-sort");
  title.setAttribute("aria-sort", descending ? "descending" : "ascending");
}

function open(thumbnail) {
  const dialog = document.querySelector("dialog");
  const small = thumbnail.querySelector("img");
  const picture = dialog.querySelector("img");
  picture.src = small.src;
  picture.alt = small.alt;
  dialog.querySelector("span").textContent = small.alt;
  const link = dialog.querySelector("a");
  const file = thumbnail.dataset.file || "#";
  link.hidden = true;
  link.href = file;
  const probe = new Image();
  probe.onload = () => { link.hidden = link.getAttribute("href") !== file; };
  if (file !== "#") probe.src = file; // which a page that was sent alone has not beside it
  dialog.showModal();
}

document.addEventListener("click", (event) => {
  const title = event.target.closest("th button");
  const thumbnail = event.target.closest(".open");
  if (title) sortBy(title.parentElement);
  else if (thumbnail) open(thumbnail);
  else if (event.target.closest("dialog") && !event.target.closest("a")) event.target.closest("dialog").close();
});
