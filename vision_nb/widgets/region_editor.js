// Boxes on an image, drawn and changed by mouse, touch and keyboard. A box is [left, top, right, bottom, label], in
// pixels of the original image.

const SMALLEST_DRAG = 4; // pixels on the screen; a shorter one is a click
const BOX_HINT =
  "Drag to draw a box, or add one. Arrow keys move the selected box, Shift and arrow keys resize it, Delete removes it.";
const CORNERS = ["left top", "right top", "left bottom", "right bottom"];

// Returns the editor's element and functions. `onChange` is called with all boxes after each change.
function regionEditor({ onChange, hasLabels = true }) {
  const image = element("img", { className: "vnb-regions-image", alt: "", draggable: false });
  const layer = element("div", { className: "vnb-regions-layer" }, image);
  const status = element("div", { className: "vnb-regions-status", role: "status" });
  let size = [1, 1];
  let boxes = [];
  let nodes = [];
  let selected = -1;
  let drag = null; // the box being drawn, moved or resized, and how it was before

  const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
  const text = ([left, top, right, bottom, label], index) =>
    `Box ${index + 1}${label ? ` (${label})` : ""}: left ${left}, top ${top}, ${right - left} by ${bottom - top} pixels`;

  // Calls a function when a field was changed. In JupyterLab, Enter alone has no effect in a field.
  const onEntered = (input, apply) => {
    input.addEventListener("change", apply);
    input.addEventListener("keydown", (event) => {
      if (event.key === "Enter") apply();
    });
  };
  const numberField = (title, get, set) => {
    const input = element("input", { type: "number", min: "0", className: "vnb-regions-number" });
    onEntered(input, () => {
      const value = Math.round(Number(input.value));
      if (selected >= 0 && input.value !== "" && Number.isFinite(value)) change(selected, set(boxes[selected], value));
      else drawFields();
    });
    return { node: element("label", {}, `${title} `, input), input, get };
  };
  const fields = [
    numberField("Left", (box) => box[0], ([l, t, r, b, label], x) => moved([l, t, r, b, label], x - l, 0)),
    numberField("Top", (box) => box[1], ([l, t, r, b, label], y) => moved([l, t, r, b, label], 0, y - t)),
    numberField("Width", (box) => box[2] - box[0], ([l, t, , b, label], width) => [l, t, l + width, b, label]),
    numberField("Height", (box) => box[3] - box[1], ([l, t, r, , label], height) => [l, t, r, t + height, label]),
  ];
  const labelField = element("input", { type: "text", maxLength: 200, className: "vnb-regions-label" });
  onEntered(labelField, () => {
    if (selected >= 0) change(selected, [...boxes[selected].slice(0, 4), labelField.value.trim()]);
  });
  const add = button({ textContent: "Add box" }, () => {
    const shift = (boxes.length % 10) * 0.02;
    const sides = [0.25, 0.25, 0.75, 0.75].map((share, side) => Math.round((share + shift) * size[side % 2]));
    boxes.push(fitted([...sides, ""]));
    draw();
    nodes.at(-1).focus();
    commit(boxes.length - 1);
  });
  const remove = button({ textContent: "Delete box" }, () => removeBox(selected));
  const tools = element(
    "div",
    { className: "vnb-regions-tools", role: "group", "aria-label": "Selected box" },
    add,
    remove,
    ...fields.map((field) => field.node),
    ...(hasLabels ? [element("label", {}, "Label ", labelField)] : []),
  );

  // Returns a box with whole pixels, within the image and at least one pixel large.
  const fitted = ([left, top, right, bottom, label]) => {
    const [width, height] = size;
    left = clamp(Math.round(left), 0, width - 1);
    top = clamp(Math.round(top), 0, height - 1);
    return [left, top, clamp(Math.round(right), left + 1, width), clamp(Math.round(bottom), top + 1, height), label];
  };
  // Returns a box at another place, as far as the image allows.
  const moved = ([left, top, right, bottom, label], byX, byY) => {
    const x = clamp(byX, -left, size[0] - right);
    const y = clamp(byY, -top, size[1] - bottom);
    return [left + x, top + y, right + x, bottom + y, label];
  };
  const change = (index, box) => {
    const changed = fitted(box);
    if (JSON.stringify(changed) === JSON.stringify(boxes[index])) return drawFields();
    boxes[index] = changed;
    commit(index);
  };
  const commit = (index) => {
    select(index);
    draw();
    setLiveText(status, index >= 0 ? text(boxes[index], index) : "");
    onChange(structuredClone(boxes));
  };
  const select = (index) => {
    selected = index;
    nodes.forEach((node, other) => node.classList.toggle("vnb-selected", other === index));
    drawFields();
  };
  const removeBox = (index) => {
    if (index < 0) return;
    boxes.splice(index, 1);
    commit(Math.min(index, boxes.length - 1));
    setLiveText(status, `Box ${index + 1} was deleted, ${boxes.length} left`);
    (nodes[selected] ?? add).focus();
  };
  const drawFields = () => {
    const box = boxes[selected];
    for (const field of fields) {
      field.input.value = box ? field.get(box) : "";
      field.input.disabled = !box;
    }
    labelField.value = box ? box[4] : "";
    labelField.disabled = remove.disabled = !box;
  };

  const createNode = () => {
    const handles = CORNERS.map((corner) => element("span", { className: `vnb-regions-handle vnb-${corner.replace(" ", "-")}` }));
    const badge = element("span", { className: "vnb-regions-badge" });
    const properties = { className: "vnb-regions-box", tabIndex: 0, role: "group", "aria-roledescription": "box" };
    const node = element("div", properties, badge, ...handles);
    node.addEventListener("focus", () => select(nodes.indexOf(node)));
    node.addEventListener("keydown", (event) => onKey(event, nodes.indexOf(node)));
    return node;
  };
  const draw = () => {
    while (nodes.length > boxes.length) nodes.pop().remove();
    while (nodes.length < boxes.length) {
      nodes.push(createNode());
      layer.append(nodes.at(-1));
    }
    nodes.forEach((node, index) => {
      const [left, top, right, bottom, label] = boxes[index];
      node.style.left = `${(100 * left) / size[0]}%`;
      node.style.top = `${(100 * top) / size[1]}%`;
      node.style.width = `${(100 * (right - left)) / size[0]}%`;
      node.style.height = `${(100 * (bottom - top)) / size[1]}%`;
      node.setAttribute("aria-label", text(boxes[index], index));
      node.firstChild.textContent = label ? `${index + 1} ${label}` : index + 1;
    });
    select(Math.min(selected, boxes.length - 1));
  };

  const onKey = (event, index) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Delete" || event.key === "Backspace") {
      removeBox(index);
    } else {
      const arrow = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
      if (!arrow) return;
      const [x, y] = arrow.map((direction, axis) => direction * Math.max(1, Math.round(size[axis] / 100)));
      const [left, top, right, bottom, label] = boxes[index];
      change(index, event.shiftKey ? [left, top, right + x, bottom + y, label] : moved(boxes[index], x, y));
    }
    event.preventDefault();
    event.stopPropagation();
  };

  const position = (event) => {
    const area = layer.getBoundingClientRect();
    const shares = [(event.clientX - area.left) / area.width, (event.clientY - area.top) / area.height];
    return shares.map((share, axis) => Math.round(clamp(share, 0, 1) * size[axis]));
  };
  const spanned = ([x, y], [otherX, otherY], label) =>
    fitted([Math.min(x, otherX), Math.min(y, otherY), Math.max(x, otherX), Math.max(y, otherY), label]);
  layer.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || drag) return;
    event.preventDefault(); // no text selection, and no focus for the notebook's cell
    const from = position(event);
    const node = event.target.closest(".vnb-regions-box");
    const handle = event.target.closest(".vnb-regions-handle");
    const index = node ? nodes.indexOf(node) : boxes.length;
    drag = { index, from, before: node && boxes[index], startX: event.clientX, startY: event.clientY, isMoved: false };
    if (handle) {
      const [left, top, right, bottom] = drag.before; // the opposite corner stays
      drag.anchor = [handle.className.includes("left") ? right : left, handle.className.includes("top") ? bottom : top];
    } else if (!node) drag.anchor = from;
    if (node) node.focus({ preventScroll: true });
    layer.setPointerCapture(event.pointerId);
  });
  layer.addEventListener("pointermove", (event) => {
    if (!drag) return;
    const distance = Math.hypot(event.clientX - drag.startX, event.clientY - drag.startY);
    if (!drag.isMoved && distance < SMALLEST_DRAG) return;
    drag.isMoved = true;
    const to = position(event);
    const { anchor, before, from, index } = drag;
    boxes[index] = anchor
      ? spanned(anchor, to, before?.[4] ?? "")
      : moved(before, to[0] - from[0], to[1] - from[1]);
    draw();
  });
  const endDrag = (isKept) => {
    if (!drag) return;
    const { before, index, isMoved } = drag;
    drag = null;
    if (!isMoved) return;
    if (isKept) {
      commit(index);
      nodes[index].focus({ preventScroll: true });
    } else {
      if (before) boxes[index] = before;
      else boxes.splice(index, 1);
      draw();
    }
  };
  layer.addEventListener("pointerup", () => endDrag(true));
  layer.addEventListener("pointercancel", () => endDrag(false));

  const node = element(
    "div",
    { className: "vnb-regions", role: "group", "aria-label": "Select regions of the image" },
    element("div", { className: "vnb-regions-hint", textContent: BOX_HINT }),
    layer,
    tools,
    status,
  );
  node.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !drag) return;
    event.stopPropagation();
    endDrag(false);
  });
  drawFields();

  return {
    node,
    isBusy: () => drag !== null,
    boxes: () => boxes,
    focus: () => (nodes[0] ?? add).focus(),
    // Shows an image of `imageSize` original pixels.
    show: (source, name, imageSize) => {
      size = imageSize;
      image.src = source;
      image.alt = name;
      const [width, height] = size; // small images are enlarged, and the height is limited, but not to a narrow strip
      layer.style.width = `min(100%, max(160px, min(${Math.max(width, 320)}px, ${(70 * width) / height}vh)))`;
    },
    setBoxes: (newBoxes) => {
      if (JSON.stringify(newBoxes) === JSON.stringify(boxes)) return; // drawing them resets what is being typed
      boxes = newBoxes.map(fitted);
      draw();
    },
  };
}
