// Sends the boxes that are drawn on an image to Python, which checks them.

function render({ model, el }) {
  const view = Math.random().toString(36).slice(2); // the same widget can be displayed twice
  let revision = 0;
  const editor = regionEditor({
    onChange: (boxes) => {
      revision += 1;
      status.ask({ do: "boxes", boxes, view, revision });
    },
  });
  const error = element("div", { className: "vnb-regions-error", role: "alert", hidden: true });
  const body = element("div", {}, editor.node, error);
  const status = kernelStatus({ model, body, purpose: "select regions", saved: "The boxes were not saved." });
  const root = element("div", { className: "vnb-region-select", "data-lm-suppress-shortcuts": "true" }, body, status.node);
  passOnSaveKeys(root);
  const onMessage = (message) => {
    status.answered();
    setLiveText(error, message.error ?? "");
    editor.node.hidden = Boolean(message.error);
    if (message.image) editor.show(message.image, message.name, message.size);
    // An answer to an earlier change would undo the later ones.
    const isOutdated = message.view === view && message.revision !== revision;
    if (message.boxes && !isOutdated && !editor.isBusy()) editor.setBoxes(message.boxes);
  };
  el.append(root);
  model.on("msg:custom", onMessage);
  status.send({ do: "hello" });
  return () => {
    status.end();
    model.off("msg:custom", onMessage);
  };
}

export default { render };
