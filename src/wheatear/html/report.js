// A click on a column's title sorts its table, and a click on a picture opens it.
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

// A file's name from its URL; a name that is not text, which cannot be decoded, stays as it is.
function named(file) {
  try {
    return decodeURIComponent(file);
  } catch {
    return file;
  }
}

function open(thumbnail) {
  const dialog = document.querySelector("dialog");
  const small = thumbnail.querySelector("img");
  const picture = dialog.querySelector("img");
  picture.src = small.src;
  picture.alt = small.alt;
  dialog.querySelector("span").textContent = small.alt;
  const link = dialog.querySelector("a");
  // A page that was sent alone does not have the file beside it; its name says where to look.
  const file = thumbnail.dataset.file;
  link.hidden = !file;
  link.href = file || "#";
  link.textContent = file ? `Full size: ${named(file)}` : "";
  dialog.showModal();
}

document.addEventListener("click", (event) => {
  const title = event.target.closest("th button");
  const thumbnail = event.target.closest(".open");
  if (title) sortBy(title.parentElement);
  else if (thumbnail) open(thumbnail);
  else if (event.target.closest("dialog") && !event.target.closest("a")) event.target.closest("dialog").close();
});
