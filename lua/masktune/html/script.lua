--- The script of pages (masktune.html): sorting of tables and galleries, filters, enlarging, light and dark.
-- @module masktune.html.script
return [[
"use strict";
(() => {
const root = document.documentElement, theme = document.getElementById("theme");
const setDark = dark => {
  root.classList.toggle("dark", dark);
  theme.textContent = dark ? "light" : "dark";
  theme.setAttribute("aria-pressed", dark);
};
setDark(matchMedia("(prefers-color-scheme: dark)").matches);
theme.addEventListener("click", () => setDark(!root.classList.contains("dark")));

const value = text => {
  const number = parseFloat(text.replace(/,/g, ""));
  return Number.isNaN(number) ? text : number;
};
const compare = (a, b) => typeof a === "number" && typeof b === "number" ? a - b
  : typeof a === typeof b ? String(a).localeCompare(String(b)) : typeof a === "number" ? -1 : 1;

for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  table.querySelectorAll("thead th").forEach((head, column) => {
    head.firstElementChild.addEventListener("click", () => {
      const direction = head.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
      for (const other of head.parentNode.children) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", direction);
      const sign = direction === "ascending" ? 1 : -1;
      const key = row => value(row.cells[column].textContent.trim());
      body.append(...[...body.rows].sort((a, b) => sign * compare(key(a), key(b))));
    });
  });
}

const large = document.getElementById("large");
const enlarge = figure => {
  const image = figure.querySelector("img");
  large.querySelector("img").src = image.src;
  large.querySelector("img").alt = image.alt;
  large.querySelector("p").textContent = figure.querySelector("figcaption").textContent;
  large.showModal();
};

for (const gallery of document.querySelectorAll(".gallery")) {
  const tiles = gallery.querySelector(".tiles"), figures = [...tiles.children];
  const sort = gallery.querySelector("[data-sort]"), filters = [...gallery.querySelectorAll("[data-filter]")];
  const arrange = () => {
    const [key, sign] = sort.value.split(":");
    const number = figure => figure.dataset[key] === undefined ? Infinity : Number(sign) * Number(figure.dataset[key]);
    tiles.append(...(key ? [...figures].sort((a, b) => number(a) - number(b)) : figures));
    let shown = 0;
    for (const figure of figures) {
      figure.hidden = !filters.every(f => !f.value || figure.dataset[f.dataset.filter] === f.value);
      if (!figure.hidden) shown += 1;
    }
    gallery.querySelector(".count").textContent = shown + (shown === 1 ? " picture" : " pictures");
  };
  for (const control of [sort, ...filters]) control.addEventListener("change", arrange);
  tiles.addEventListener("click", event => {
    const figure = event.target.closest("figure");
    if (figure) enlarge(figure);
  });
  tiles.addEventListener("keydown", event => {
    const figure = event.target.closest("figure");
    if (!figure) return;
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      enlarge(figure);
    }
    const step = { ArrowRight: "nextElementSibling", ArrowLeft: "previousElementSibling" }[event.key];
    let next = step && figure[step];
    while (next && next.hidden) next = next[step];
    if (next) next.focus();
  });
}
})();
]]
