// A dialog that enlarges an image, to be zoomed and moved. Escape, its button and a click beside it close it.

const DIALOG_CHROME = 150; // pixels of height that the dialog needs besides the image

// Returns the dialog's element and functions. `onEnlarge` is called once per image when more pixels are needed.
function imageDialog({ onEnlarge, controls = [] }) {
  const viewer = imageViewer({ onEnlarge, isActive: () => node.open });
  const title = element("h4", { className: "vnb-dialog-title" });
  const close = button({ textContent: "Close", title: "Close (Esc)" }, () => node.close());
  const node = element(
    "dialog",
    { className: "vnb-image-dialog", "aria-label": "Enlarged image" },
    element("div", { className: "vnb-dialog-head" }, title, close),
    viewer.node,
    element("div", { className: "vnb-dialog-foot" }, ...controls),
  );
  node.addEventListener("click", (event) => {
    if (event.target === node) node.close(); // a click beside the content
  });

  return {
    node,
    // Shows an image of `width` by `height` pixels, at first by a thumbnail.
    show: ({ thumbnail, name, width, height }, heading) => {
      title.textContent = heading;
      // The image fits the window, and is not shown larger than its own pixels, unless it is very small.
      const limit = `max(240px, (96vh - ${DIALOG_CHROME}px) * ${width / height})`;
      viewer.frame.style.width = `min(90vw, ${Math.max(width, 480)}px, ${limit})`;
      if (!node.open) node.showModal();
      viewer.show(thumbnail, name, true);
      viewer.frame.focus();
    },
    // Replaces the thumbnail with an image that has more pixels.
    enlarge: viewer.enlarge,
    end: viewer.close,
  };
}
