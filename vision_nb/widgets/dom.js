// Functions shared by the widgets' scripts. Python puts this file in front of each script (see assets.py), because
// anywidget loads every script as a separate module, without a bundler.

const KERNEL_CHECK_INTERVAL = 2000; // milliseconds
const BUSY_AFTER = 500; // milliseconds without a reply after which the kernel is shown as busy

// Creates an element. Properties named "role" or containing a hyphen are set as attributes.
function element(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "role" || name.includes("-")) node.setAttribute(name, value);
    else node[name] = value;
  }
  node.append(...children);
  return node;
}

function button(properties, onClick) {
  const node = element("button", { type: "button", ...properties });
  node.addEventListener("click", onClick);
  return node;
}

const ICONS = {
  send: "M12 20V5M5 12l7-7 7 7",
  stop: "M6 6h12v12H6z",
  attach: "M20 11l-8.5 8.5a5 5 0 0 1-7-7L13 4a3.4 3.4 0 0 1 4.8 4.8l-8.4 8.4a1.7 1.7 0 0 1-2.4-2.4L14.5 7.5",
  left: "M15 5l-7 7 7 7",
  right: "M9 5l7 7-7 7",
  close: "M6 6l12 12M18 6L6 18",
  crop: "M7 2v15h15M2 7h15v15",
  copy: "M9 9h11v11H9zM15 9V4H4v11h5",
  edit: "M4 20l1-5L16 4l4 4L9 19zM13.5 6.5l4 4",
  again: "M20 11a8 8 0 1 0-2 6M20 5v6h-6",
  delete: "M4 7h16M9 7V4h6v3M6 7l1 13h10l1-13M10 11v6M14 11v6",
  done: "M5 13l5 5L20 6",
};

// Creates an icon for a control that has a label.
function icon(name) {
  const image = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", ICONS[name]);
  image.setAttribute("viewBox", "0 0 24 24");
  image.setAttribute("class", `vnb-icon vnb-icon-${name}`);
  image.setAttribute("aria-hidden", "true");
  image.append(path);
  return image;
}

// Sets the text of a live region, and hides it if empty. Screen readers announce every write, even of the same text.
function setLiveText(node, text) {
  if (node.textContent !== text) node.textContent = text;
  node.hidden = !text;
}

const KERNEL_GONE = "The kernel was restarted or stopped: run this cell again to"; // continue
const KERNEL_BUSY = "Waiting for the kernel: another cell is running.";

// Calls `onGone` when the kernel was restarted, which ends the widget's comm, or shut down, which leaves the widget manager
// without a kernel. Returns a function that ends the watch.
function watchKernel(model, onGone) {
  const end = () => {
    clearInterval(interval);
    model.off("comm_live_update", report);
  };
  const report = () => {
    end();
    onGone();
  };
  const interval = setInterval(() => model.widget_manager?.kernel === null && report(), KERNEL_CHECK_INTERVAL);
  model.on("comm_live_update", report); // the comm is live until the first one
  return end;
}

// Returns the id of the view that an element is in: the same chat panel can be displayed in several views.
function viewId(node) {
  const view = node.closest(".widget-vbox") ?? document.body;
  return (view.dataset.vnbView ??= Math.random().toString(36).slice(2));
}

function hasFiles(event) {
  return [...event.dataTransfer.types].includes("Files");
}

// Lets the notebook handle Ctrl+S, or Cmd+S, in a panel, which hides all other keys from the notebook's shortcuts.
function passOnSaveKeys(panel) {
  const passOn = (event) => {
    const { key, code, keyCode, ctrlKey, metaKey, shiftKey, altKey } = event;
    if (!(ctrlKey || metaKey) || altKey || key.toLowerCase() !== "s") return;
    event.preventDefault(); // the browser would save the page
    const copy = new KeyboardEvent("keydown", { key, code, keyCode, ctrlKey, metaKey, shiftKey, bubbles: true, cancelable: true });
    (panel.closest(".jp-Notebook") ?? document.body).dispatchEvent(copy);
  };
  panel.addEventListener("keydown", passOn, true);
}
