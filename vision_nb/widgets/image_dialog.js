// A dialog that enlarges an image, to be zoomed and moved. Escape, its button and a click beside it close it.

const DIALOG_CHROME = 130; // pixels of height that the dialog needs besides the image

// Returns the dialog's element and functions. `onEnlarge` is called once per image when more pixels are needed, and
// `onStep`, for one of several images, with -1 or 1 to show the previous or the next one.
function imageDialog({ onEnlarge, onStep }) {
  const step = (by) => {
    if ((by < 0 ? back : next).getAttribute("aria-disabled") === "false") onStep(by);
  };
  const viewer = imageViewer({ onEnlarge, onSwipe: (by) => step(by), isActive: () => node.open });
  const title = element("h4", { className: "vnb-dialog-title", "aria-live": "polite" });
  const close = button({ textContent: "Close", title: "Close (Esc)" }, () => node.close());
  const stepButton = (textContent, title, by) => button({ textContent, title, "aria-label": title }, () => step(by));
  const back = stepButton("\u2190", "Previous image (Left arrow)", -1);
  const next = stepButton("\u2192", "Next image (Right arrow)", 1);
  const steps = element("div", { className: "vnb-dialog-steps" }, back, next);
  viewer.tools.append(steps);
  const node = element(
    "dialog",
    { className: "vnb-image-dialog", "aria-label": "Enlarged image" },
    element("div", { className: "vnb-dialog-head" }, title, close),
    viewer.node,
  );
  node.addEventListener("click", (event) => {
    if (event.target === node) node.close(); // a click beside the content
  });
  node.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1, PageUp: -1, PageDown: 1 }[event.key];
    if (!by || event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    step(by);
  });

  return {
    node,
    // Shows an image of `width` by `height` pixels, at first by a thumbnail. It is one of `count` images, from index 0.
    show: ({ thumbnail, name, width, height }, heading, index = 0, count = 1) => {
      const format = (number) => number.toLocaleString("en");
      title.textContent = count > 1 ? `${format(index + 1)} of ${format(count)}: ${heading}` : heading;
      steps.hidden = count === 1;
      back.setAttribute("aria-disabled", String(index === 0)); // not `disabled`, which would lose the focus
      next.setAttribute("aria-disabled", String(index === count - 1));
      // The image fits the window, and is not shown larger than its own pixels, unless it is very small.
      const limit = `max(240px, (96vh - ${DIALOG_CHROME}px) * ${width / height || 1})`;
      viewer.frame.style.width = `min(90vw, ${Math.max(width, 480)}px, ${limit})`;
      if (!node.open) {
        node.showModal();
        viewer.frame.focus();
      }
      viewer.show(thumbnail, name, true);
    },
    // Replaces the thumbnail with an image that has more pixels.
    enlarge: viewer.enlarge,
    end: viewer.close,
  };
}
