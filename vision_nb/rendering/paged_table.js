"use strict";
// The filters by mark and by column are style rules; the script adds pages, the search, and enlarged images.
const main = document.querySelector("main");
const bar = main.querySelector(".vnb-bar");
const bodies = [...main.querySelectorAll(".vnb-rows > tbody")];
const texts = bodies.map((body) => body.textContent.toLowerCase());
const pageSize = Number(main.dataset.pageSize);
const [previous, next, status] = [".vnb-previous", ".vnb-next", "[role=status]"].map((name) => bar.querySelector(name));
let page = 0;

function isSelected(body, number) {
  const mark = bar.querySelector("[type=radio]:checked")?.value ?? "all";
  const hidden = [...bar.querySelectorAll("[type=checkbox]:not(:checked)")].map((box) => `vnb-c${box.value}`);
  const words = bar.querySelector("[type=search]").value.trim().toLowerCase();
  return (mark === "all" || body.classList.contains(`vnb-${mark}`)) && texts[number].includes(words)
    && !hidden.some((name) => body.classList.contains(name));
}

function update() {
  const selected = bodies.filter(isSelected);
  page = Math.max(0, Math.min(page, Math.ceil(selected.length / pageSize) - 1));
  const shown = new Set(selected.slice(page * pageSize, (page + 1) * pageSize));
  for (const body of bodies) body.hidden = !shown.has(body);
  const first = page * pageSize + 1;
  status.textContent = selected.length
    ? `${main.dataset.noun} ${first}–${first + shown.size - 1} of ${selected.length}` : `no ${main.dataset.noun}`;
  previous.disabled = page === 0;
  next.disabled = (page + 1) * pageSize >= selected.length;
}

function turn(pages) {
  page += pages;
  update();
  main.scrollIntoView();
}

function enlarge(image) {
  const dialog = document.createElement("dialog");
  dialog.setAttribute("aria-label", image.alt);
  const large = document.createElement("img");
  Object.assign(large, { src: image.src, alt: image.alt });
  dialog.append(large);
  dialog.addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", () => { dialog.remove(); image.focus(); });
  document.body.append(dialog);
  dialog.showModal();
}

for (const image of main.querySelectorAll(".vnb-rows > tbody > tr > td > img")) {
  image.tabIndex = 0;
  image.setAttribute("role", "button");
  image.setAttribute("aria-label", `Enlarge ${image.alt}`);
  image.addEventListener("click", () => enlarge(image));
  image.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    enlarge(image);
  });
}
bar.addEventListener("input", () => { page = 0; update(); });
previous.addEventListener("click", () => turn(-1));
next.addEventListener("click", () => turn(1));
for (const control of bar.querySelectorAll("[hidden]")) control.hidden = false;
update();
