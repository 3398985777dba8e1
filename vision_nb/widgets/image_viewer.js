// An image that can be zoomed and moved by mouse, touch and keyboard. It fits the width at first.

const MAX_ZOOM = 12;
const ZOOM_STEP = 1.25;
const PAN_STEP = 60; // pixels

const SWIPE = 50; // pixels

// Returns the viewer's element and functions. `onEnlarge` is called once per image when more pixels are needed, and
// `onSwipe` with -1 or 1 when a finger moves to the right or left over an image that is not zoomed.
function imageViewer({ onEnlarge, onSwipe, isActive }) {
  const image = element("img", { className: "vnb-viewer-image", alt: "", draggable: false });
  const missing = element("p", { className: "vnb-viewer-missing", textContent: "The image cannot be shown.", hidden: true });
  const frame = element(
    "div",
    { className: "vnb-viewer-frame", tabIndex: 0, role: "group", "aria-roledescription": "image viewer" },
    image,
    missing,
  );
  let scale = 1;
  let x = 0;
  let y = 0;
  let canEnlarge = false;
  let drag = null; // the pointer's position and the image's, when the drag began

  const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
  const apply = () => {
    x = clamp(x, Math.min(0, frame.clientWidth - image.offsetWidth * scale), 0);
    y = clamp(y, Math.min(0, frame.clientHeight - image.offsetHeight * scale), 0);
    image.style.transform = `translate(${x}px, ${y}px) scale(${scale})`;
    const isMovable = image.offsetHeight * scale > frame.clientHeight + 1 || scale > 1;
    frame.classList.toggle("vnb-movable", isMovable);
    fitButton.disabled = scale === 1 && x === 0 && y === 0;
    if (canEnlarge && image.offsetWidth * scale * (window.devicePixelRatio || 1) > image.naturalWidth * 1.1) {
      canEnlarge = false;
      onEnlarge();
    }
  };
  const zoomTo = (next, centerX = frame.clientWidth / 2, centerY = frame.clientHeight / 2) => {
    next = clamp(next, 1, MAX_ZOOM);
    x = centerX - ((centerX - x) * next) / scale;
    y = centerY - ((centerY - y) * next) / scale;
    scale = next;
    apply();
  };
  const pan = (byX, byY) => {
    x += byX;
    y += byY;
    apply();
  };
  const fit = () => {
    scale = 1;
    x = y = 0;
    apply();
  };

  const zoomButton = (text, title, onClick) => button({ textContent: text, title, "aria-label": title }, onClick);
  const fitButton = zoomButton("Fit", "Fit the image to the width (0)", fit);
  const tools = element(
    "div",
    { className: "vnb-viewer-tools" },
    zoomButton("\u2212", "Zoom out (-)", () => zoomTo(scale / ZOOM_STEP)),
    zoomButton("+", "Zoom in (+)", () => zoomTo(scale * ZOOM_STEP)),
    fitButton,
  );

  frame.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const actions = {
      "+": () => zoomTo(scale * ZOOM_STEP),
      "=": () => zoomTo(scale * ZOOM_STEP), // the key of + without Shift
      "-": () => zoomTo(scale / ZOOM_STEP),
      0: fit,
      ArrowLeft: () => pan(PAN_STEP, 0),
      ArrowRight: () => pan(-PAN_STEP, 0),
      ArrowUp: () => pan(0, PAN_STEP),
      ArrowDown: () => pan(0, -PAN_STEP),
    };
    const isStep = scale === 1 && ["ArrowLeft", "ArrowRight"].includes(event.key); // see image_dialog.js
    if (isStep || !actions[event.key]) return;
    event.preventDefault();
    actions[event.key]();
  });
  // While the panel does not have the focus, the wheel scrolls the notebook as usual.
  const onWheel = (event) => {
    if (!(isActive() || event.ctrlKey) || image.hidden) return;
    event.preventDefault();
    const box = frame.getBoundingClientRect();
    zoomTo(scale * ZOOM_STEP ** clamp(-event.deltaY / 60, -2, 2), event.clientX - box.left, event.clientY - box.top);
  };
  frame.addEventListener("wheel", onWheel, { passive: false });
  frame.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    drag = { fromX: event.clientX, fromY: event.clientY, x, y };
    frame.setPointerCapture(event.pointerId);
  });
  frame.addEventListener("pointermove", (event) => {
    if (!drag) return;
    x = drag.x + event.clientX - drag.fromX;
    y = drag.y + event.clientY - drag.fromY;
    apply();
  });
  frame.addEventListener("pointerup", (event) => {
    if (!drag) return;
    const [byX, byY] = [event.clientX - drag.fromX, event.clientY - drag.fromY];
    const isSwipe = event.pointerType === "touch" && scale === 1 && Math.abs(byX) > Math.max(SWIPE, 2 * Math.abs(byY));
    drag = null;
    if (isSwipe) onSwipe?.(byX < 0 ? 1 : -1);
  });
  frame.addEventListener("pointercancel", () => (drag = null));
  image.addEventListener("load", apply);
  const observer = new ResizeObserver(apply);
  observer.observe(frame);

  return {
    node: element("div", { className: "vnb-viewer" }, frame, tools),
    frame,
    tools,
    // Shows another image, or a message if `source` is empty.
    show: (source, name, hasMorePixels) => {
      canEnlarge = hasMorePixels;
      image.src = source || "data:,";
      image.alt = name;
      image.hidden = !source;
      missing.hidden = Boolean(source);
      frame.setAttribute("aria-label", `Image ${name}. Plus and minus zoom, 0 fits the width, arrow keys move the zoomed image`);
      fit();
    },
    // Replaces the image with one that has more pixels, at the same position.
    enlarge: (source) => {
      image.src = source;
    },
    close: () => observer.disconnect(),
  };
}
