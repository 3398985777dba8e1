// The images attached to the next question: each has a card to enlarge, move or remove it and to set its detail level.

const DRAGGED_IMAGE = "application/x-vision-nb-image";
const IMAGE_ACTIONS = []; // more buttons of each card, as ({ id, name }, post) => button

// Returns the element and functions. `post` sends a message to Python.
function attachedImages({ post, focusInput }) {
  const cards = new Map(); // by the image's id, in the order of the images
  const thumbnails = new Map();
  let images = [];
  let details = [];
  let currentId = null; // the card whose controls Tab reaches
  let draggedId = null;

  const count = element("span", { className: "vnb-count" });
  const detailOfAll = element("select", {
    title: "How closely the model looks at the images: more detail can cost more tokens",
  });
  const detailLabel = element("label", { className: "vnb-detail-of-all" }, "Detail for all ", detailOfAll);
  const removeAll = button({ textContent: "Remove all" }, () => {
    post({ do: "remove_all" });
    focusInput();
  });
  const head = element("div", { className: "vnb-attached-head" }, count, removeAll, detailLabel);
  const list = element("ul", { className: "vnb-attachments", "aria-label": "Attached images" });
  const help = element("span", {
    className: "vnb-spoken",
    id: `vnb-help-${Math.random().toString(36).slice(2)}`,
    textContent: "Arrow keys go to another image, Shift and an arrow key move the image, Delete removes it.",
  });
  const spoken = element("div", { className: "vnb-spoken", role: "status" });
  const root = element("div", { className: "vnb-attached", hidden: true }, head, list, help, spoken);

  const indexOf = (id) => images.findIndex((image) => image.id === id);
  const say = (text) => setLiveText(spoken, text);
  const move = (id, index) => {
    const last = images.length - 1;
    const from = indexOf(id);
    const to = Math.min(Math.max(index, 0), last);
    const { name } = images[from];
    if (to === from) return say(`${name} is already ${to ? "the last" : "the first"} image.`);
    post({ do: "move", id, index: to });
    say(`${name} is now image ${to + 1} of ${last + 1}.`);
  };
  const remove = (id) => {
    const index = indexOf(id);
    const next = images[index + 1] ?? images[index - 1];
    say(`${images[index].name} is removed.`);
    post({ do: "remove", id });
    if (next) cards.get(next.id).enlarge.focus();
    else focusInput();
  };
  const setCurrent = (id) => {
    currentId = id;
    for (const [one, { item }] of cards) {
      for (const control of item.querySelectorAll("button, select")) control.tabIndex = one === id ? 0 : -1;
    }
  };
  // Shows a level in a select, with another label if the model does not have it.
  const fillDetails = (select, value, otherLabel) => {
    const options = details.map(([level, label]) => element("option", { value: level, textContent: label }));
    if (!details.some(([level]) => level === value)) {
      options.push(element("option", { value, textContent: otherLabel, disabled: true }));
    }
    select.replaceChildren(...options);
    select.value = value;
  };

  const createCard = ({ id, name }) => {
    const picture = element("img", { alt: "", draggable: false });
    const enlarge = button({ className: "vnb-enlarge", "aria-describedby": help.id }, () => post({ do: "enlarge", id, view: viewId(root) }));
    enlarge.append(picture);
    const action = (iconName, text, onClick) => {
      const control = button({ className: "vnb-icon-button", title: `${text} ${name}`, "aria-label": `${text} ${name}` }, onClick);
      control.append(icon(iconName));
      return control;
    };
    const detail = element("select", { title: `Detail level of ${name}`, "aria-label": `Detail level of ${name}` });
    detail.addEventListener("change", () => post({ do: "detail", id, detail: detail.value }));
    const left = action("left", "Move left:", () => move(id, indexOf(id) - 1));
    const right = action("right", "Move right:", () => move(id, indexOf(id) + 1));
    const more = IMAGE_ACTIONS.map((create) => create({ id, name }, post));
    const close = action("close", "Remove", () => remove(id));
    const fileName = element("bdi", { className: "vnb-file-name", textContent: name, title: name });
    const item = element(
      "li",
      { draggable: true },
      enlarge,
      element("div", { className: "vnb-card-text" }, fileName, close),
      element("div", { className: "vnb-card-actions" }, detail, ...more, left, right),
    );
    enlarge.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1, Home: -Infinity, End: Infinity }[event.key];
      if (event.key === "Delete" || event.key === "Backspace") remove(id);
      else if (!step || event.ctrlKey || event.metaKey || event.altKey) return;
      else if (event.shiftKey) move(id, indexOf(id) + step);
      else cards.get(images[Math.min(Math.max(indexOf(id) + step, 0), images.length - 1)].id).enlarge.focus();
      event.preventDefault();
      event.stopPropagation();
    });
    item.addEventListener("focusin", () => setCurrent(id));
    item.addEventListener("dragstart", (event) => {
      draggedId = id;
      event.dataTransfer.setData(DRAGGED_IMAGE, id);
      event.dataTransfer.effectAllowed = "move";
      event.stopPropagation();
      item.classList.add("vnb-dragged");
    });
    item.addEventListener("dragend", () => {
      draggedId = null;
      item.classList.remove("vnb-dragged");
      clearMark();
    });
    return { item, enlarge, picture, detail, left, right };
  };
  const clearMark = () => {
    for (const item of list.children) item.classList.remove("vnb-drop-before", "vnb-drop-after");
  };
  // Returns where a drag would put the image: the card under the pointer, and whether before or after it.
  const dropPlace = (event) => {
    const item = event.target.closest?.(".vnb-attachments > li");
    if (!draggedId || !item) return null;
    const box = item.getBoundingClientRect();
    return { item, isAfter: event.clientX > box.left + box.width / 2 };
  };
  list.addEventListener("dragover", (event) => {
    const place = dropPlace(event);
    if (!place) return;
    event.preventDefault();
    event.stopPropagation();
    clearMark();
    place.item.classList.add(place.isAfter ? "vnb-drop-after" : "vnb-drop-before");
  });
  list.addEventListener("drop", (event) => {
    const place = dropPlace(event);
    if (!place) return;
    event.preventDefault();
    event.stopPropagation();
    const from = indexOf(draggedId);
    const target = [...list.children].indexOf(place.item) + (place.isAfter ? 1 : 0);
    const to = target > from ? target - 1 : target;
    if (to !== from) move(draggedId, to);
  });
  detailOfAll.addEventListener("change", () => post({ do: "detail_of_all", detail: detailOfAll.value }));

  const drawCard = ({ id, name, detail }, index) => {
    const card = cards.get(id);
    const label = `${name}, image ${index + 1} of ${images.length}: enlarge`;
    if (card.enlarge.getAttribute("aria-label") !== label) card.enlarge.setAttribute("aria-label", label);
    card.enlarge.title = `Enlarge ${name}`;
    card.left.setAttribute("aria-disabled", index === 0);
    card.right.setAttribute("aria-disabled", index === images.length - 1);
    card.detail.hidden = !details.length;
    if (card.shownDetail !== detail || card.shownDetails !== details) fillDetails(card.detail, detail, `${detail} (not supported)`);
    card.shownDetail = detail;
    card.shownDetails = details;
    showThumbnail(id);
  };
  const showThumbnail = (id) => {
    const source = thumbnails.get(id);
    const card = cards.get(id);
    if (source && card && card.picture.getAttribute("src") !== source) card.picture.src = source;
  };
  // Moves cards rather than drawing them again, so that the focus and the scroll position stay.
  const update = (newImages, newDetails = details) => {
    const focused = root.contains(document.activeElement) ? document.activeElement : null;
    images = newImages;
    details = newDetails;
    const ids = new Set(images.map((image) => image.id));
    for (const [id, { item }] of [...cards]) {
      if (ids.has(id)) continue;
      item.remove();
      cards.delete(id);
      thumbnails.delete(id);
    }
    images.forEach((image, index) => {
      if (!cards.has(image.id)) cards.set(image.id, createCard(image));
      const { item } = cards.get(image.id);
      if (list.children[index] !== item) list.insertBefore(item, list.children[index] ?? null);
      drawCard(image, index);
    });
    count.textContent = `${images.length} image${images.length === 1 ? "" : "s"}`;
    head.hidden = images.length < 2;
    detailLabel.hidden = !details.length;
    const levels = new Set(images.map((image) => image.detail));
    fillDetails(detailOfAll, levels.size === 1 ? [...levels][0] : "different", "Different");
    root.hidden = !images.length;
    setCurrent(ids.has(currentId) ? currentId : images[0]?.id);
    if (!focused || focused === document.activeElement) return;
    if (focused.isConnected && !root.hidden) focused.focus();
    else focusInput();
  };
  const addThumbnails = (added) => {
    for (const [id, source] of Object.entries(added)) {
      thumbnails.set(id, source);
      showThumbnail(id);
    }
  };
  return { root, update, addThumbnails };
}
