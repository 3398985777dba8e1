// Sends the boxes that are drawn on an image to Python, which checks them.

function render({ model, el }) {
  const view = Math.random().toString(36).slice(2); // the same widget can be displayed twice
  let revision = 0;
  const editor = regionEditor({
    onChange: (boxes) => {
      revision += 1;
      model.send({ do: "boxes", boxes, view, revision });
    },
  });
  const error = element("div", { className: "vnb-regions-error", role: "alert", hidden: true });
  const root = element("div", { className: "vnb-region-select", "data-lm-suppress-shortcuts": "true" }, editor.node, error);
  passOnSaveKeys(root);
  const onMessage = (message) => {
    root.hidden = false;
    setLiveText(error, message.error ?? "");
    editor.node.hidden = Boolean(message.error);
    if (message.image) editor.show(message.image, message.name, message.size);
    // An answer to an earlier change would undo the later ones.
    const isOutdated = message.view === view && message.revision !== revision;
    if (message.boxes && !isOutdated && !editor.isBusy()) editor.setBoxes(message.boxes);
  };
  root.hidden = true; // until Python has sent the image
  el.append(root);
  model.on("msg:custom", onMessage);
  model.send({ do: "hello" });
  return () => model.off("msg:custom", onMessage);
}

export default { render };
