// Selects parts of an attached image, to attach them beside the image or in its place.

IMAGE_ACTIONS.push(({ id, name }, post) => {
  const text = `Select parts of ${name}`;
  const control = button({ className: "vnb-icon-button", title: text, "aria-label": text }, () => post({ do: "select_regions", id }));
  control.append(icon("crop"));
  return control;
});

// Returns the element and functions. `post` sends a message to Python.
function attachedRegions({ post, focusInput }) {
  let imageId = null;
  const editor = regionEditor({ onChange: (boxes) => update(boxes.length), hasLabels: false });
  const title = element("div", { className: "vnb-regions-title" });
  const send = (isReplaced) => () => {
    post({ do: "attach_regions", id: imageId, boxes: editor.boxes(), replace: isReplaced });
    close();
  };
  const attach = button({}, send(false));
  const replace = button({}, send(true));
  const cancel = button({ textContent: "Cancel" }, () => close());
  const actions = element("div", { className: "vnb-regions-actions" }, attach, replace, cancel);
  const root = element("div", { className: "vnb-attached-regions", hidden: true }, title, editor.node, actions);

  const update = (count) => {
    const parts = count > 1 ? `${count} parts` : "part";
    attach.textContent = `Add ${parts}`;
    replace.textContent = `Replace image with ${parts}`;
    attach.disabled = replace.disabled = !count;
  };
  const close = () => {
    imageId = null;
    root.hidden = true;
    focusInput();
  };
  root.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || event.defaultPrevented) return;
    event.stopPropagation();
    close();
  });
  return {
    root,
    open: ({ id, name, image, size }) => {
      imageId = id;
      title.textContent = `Parts of ${name} to ask about`;
      editor.show(image, name, size);
      editor.setBoxes([]);
      update(0);
      root.hidden = false;
      root.scrollIntoView({ block: "nearest" });
      editor.focus();
    },
    // Closes the editor if its image is no longer attached.
    keepOnly: (images) => {
      if (imageId && !images.some(({ id }) => id === imageId)) close();
    },
  };
}
