// Functions shared by the widgets' scripts. Python puts this file in front of each script (see assets.py), because
// anywidget loads every script as a separate module, without a bundler.

const KERNEL_CHECK_INTERVAL = 2000; // milliseconds

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

// Sets the text of a live region, and hides it if empty. Screen readers announce every write, even of the same text.
function setLiveText(node, text) {
  if (node.textContent !== text) node.textContent = text;
  node.hidden = !text;
}

// JupyterLab marks the page after a restart; after a shutdown, the widget manager has no kernel.
function isKernelGone(model, el) {
  return Boolean(el.closest(".jupyter-widgets-disconnected")) || model.widget_manager?.kernel === null;
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
