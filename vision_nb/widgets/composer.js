// The input box. It sends text and files to Python; Python decides what is attached and reports errors.

const DRAFT_DELAY = 300; // milliseconds after the last key press until the unsent text is kept

function render({ model, el }) {
  const config = model.get("config");
  const viewId = Math.random().toString(36).slice(2);
  const pending = new Map(); // requests without a reply, by request id
  let idCount = 0;
  let recalledText = null;
  let stepsBack = 0;
  let isDisconnected = false;
  let isConnected = false; // false in a view restored from saved widget state, which has no panel in the kernel
  let isSubmitting = false;
  let images = [];
  let draftTimer;
  let localError = ""; // an error found by this script rather than by Python

  const nextId = () => `${viewId}-${(idCount += 1)}`;
  const isAnswering = () => model.get("state") === "answering";

  const input = element("textarea", {
    rows: 2,
    dir: "auto",
    placeholder: "Ask about an image\u2026",
    "aria-label": "Question. Enter sends, Shift+Enter starts a new line, Up recalls an earlier question, Escape stops",
  });
  const filePicker = element("input", { type: "file", accept: "image/*,application/pdf,video/*", multiple: true, hidden: true });
  const attachButton = button({ title: "Attach images" }, () => filePicker.click());
  const modelSelect = element("select", { title: "Model for the next question" });
  const modelLabel = element("label", { className: "vnb-model-picker" }, element("span", { textContent: "Model" }), modelSelect);
  const price = element("div", { className: "vnb-price", id: `vnb-price-${viewId}` });
  const hint = element("div", { className: "vnb-hint", textContent: "Enter sends \u00b7 paste or drop images" });
  const sendButton = button({ textContent: "Send", className: "vnb-send", "aria-describedby": price.id }, () => submit());
  const stopButton = button({ textContent: "Stop", className: "vnb-stop" }, () => {
    post({ do: "stop" });
    input.focus();
  });
  attachButton.append(icon("attach"), element("span", { textContent: "Attach images" }));
  sendButton.prepend(icon("send"));
  stopButton.prepend(icon("stop"));
  const note = element("div", { className: "vnb-note", role: "status" });
  const progress = element("div", { className: "vnb-progress", role: "status" });
  const cancelButton = button({ textContent: "Cancel upload", hidden: true }, () => {
    uploads.cancel();
    input.focus();
  });
  const error = element("div", { className: "vnb-error", role: "alert" });
  const attached = attachedImages({ post: (message) => post(message), focusInput: () => input.focus() });
  const regions = attachedRegions({ post: (message) => post(message), focusInput: () => input.focus() });
  const toolbar = element("div", { className: "vnb-toolbar" }, attachButton, filePicker, modelLabel, sendButton, stopButton);
  const root = element(
    "div",
    { className: "vnb-composer", role: "group", "aria-label": "Ask a question", "data-lm-suppress-shortcuts": "true" },
    element("div", { className: "vnb-box" }, attached.root, regions.root, input, toolbar),
    element("div", { className: "vnb-below" }, price, hint),
    note,
    element("div", { className: "vnb-uploading" }, progress, cancelButton),
    error,
  );

  const showError = (text) => {
    localError = text;
    draw();
  };
  const post = (message, buffers) => {
    try {
      model.send(message, undefined, buffers);
    } catch {
      disconnected(); // the kernel was shut down
    }
  };
  // Sends a message and waits for Python's reply, which says why the message was rejected, if it was.
  const request = (message, buffers) =>
    new Promise((resolve) => {
      const requestId = nextId();
      pending.set(requestId, { resolve, sentAt: Date.now() });
      if (message.do !== "ping") localError = "";
      post({ ...message, request_id: requestId }, buffers);
      setTimeout(drawProgress, BUSY_AFTER + 20);
    });

  const uploads = fileUploads({
    config,
    request,
    post,
    nextId,
    onChange: () => drawProgress(),
    onEnd: showError,
  });
  const uploadFiles = (files, { nameOf = (file) => file.name, remark } = {}) => {
    if (isDisconnected || !isConnected) return;
    localError = "";
    uploads.add(files.map((file) => ({ file, name: nameOf(file) || "image" })), remark);
  };

  const submit = async () => {
    if (isSubmitting) return;
    if (isAnswering()) {
      showError("The model is still answering: wait, or press Esc to stop it.");
      return;
    }
    if (uploads.isRunning()) {
      showError("An image is still uploading: send again in a moment.");
      return;
    }
    const text = input.value;
    isSubmitting = true;
    input.focus(); // the Send button is hidden during the answer
    try {
      const { rejection } = await request({ do: "send", text });
      if (!rejection && input.value.startsWith(text)) {
        setText(input.value.slice(text.length)); // what was typed since stays
        clearTimeout(draftTimer);
        post({ do: "draft", text: input.value });
        stepsBack = 0;
        recalledText = null;
      }
    } finally {
      isSubmitting = false;
    }
  };
  // Python keeps the unsent text for a page that is reloaded, and estimates its price.
  const keepDraft = () => {
    clearTimeout(draftTimer);
    draftTimer = setTimeout(() => isConnected && post({ do: "draft", text: input.value }), DRAFT_DELAY);
  };
  const recallQuestion = (step) => {
    if (input.value && input.value !== recalledText) return false;
    post({ do: "recall", steps_back: Math.max(0, stepsBack + step), view: viewId });
    return true;
  };

  const setText = (text) => {
    input.value = text;
    grow();
  };
  // Makes the box as high as its text in browsers that do not do so by themselves.
  const grow = () => {
    if (CSS.supports("field-sizing", "content")) return;
    input.style.height = "auto";
    input.style.height = `${input.scrollHeight + 2}px`;
  };

  // The parts are drawn separately, so that a change to one part does not take the focus from another.
  const drawImages = (images) => attached.update(images, model.get("details"));
  const drawModels = () => {
    modelSelect.replaceChildren(...model.get("models").map((name) => element("option", { value: name, textContent: name })));
    modelSelect.value = model.get("model");
  };
  const drawProgress = () => {
    const isBusy = [...pending.values()].some(({ sentAt }) => Date.now() - sentAt >= BUSY_AFTER);
    let text = uploads.progress();
    if (isBusy && !isDisconnected && text) text += " Waiting for the kernel.";
    else if (isBusy && !isDisconnected) {
      text = isConnected
        ? KERNEL_BUSY
        : "Waiting for the kernel. If it was restarted, run this cell again to continue.";
    }
    setLiveText(progress, text);
    cancelButton.hidden = !uploads.isRunning() || isDisconnected;
  };
  const draw = () => {
    const isClosed = isDisconnected || !isConnected;
    const focused = document.activeElement;
    modelSelect.value = model.get("model");
    for (const control of [input, attachButton, modelSelect, sendButton]) control.disabled = isClosed;
    modelSelect.disabled = isClosed || isAnswering();
    stopButton.hidden = isClosed || !isAnswering();
    sendButton.hidden = !stopButton.hidden;
    if ([sendButton, stopButton].includes(focused) && focused.hidden) input.focus();
    price.textContent = model.get("price");
    hint.hidden = Boolean(price.textContent);
    setLiveText(note, model.get("note"));
    const text = isDisconnected
      ? `${KERNEL_GONE} continue. The conversation is kept below.`
      : localError || model.get("error");
    setLiveText(error, text ? `\u26a0 ${text}` : "");
    drawProgress();
  };
  const receive = (message) => {
    if (message.reply_to) {
      pending.get(message.reply_to)?.resolve(message);
      pending.delete(message.reply_to);
      draw();
    } else if (message.attachments || message.thumbnails) {
      if (message.attachments) {
        drawImages((images = message.attachments));
        regions.keepOnly(images);
      }
      if (message.thumbnails) attached.addThumbnails(message.thumbnails);
    } else if (message.regions) {
      regions.open(message.regions);
    } else if (message.draft !== undefined) {
      if (!input.value) setText(message.draft); // the page was reloaded
    } else if (message.recall !== undefined && message.view === viewId) {
      stepsBack = message.steps_back;
      setText((recalledText = message.recall));
      keepDraft();
    }
  };

  passOnSaveKeys(root);
  root.addEventListener("vnb-sent", () => isConnected && request({ do: "ping" }));
  input.addEventListener("input", () => {
    grow();
    keepDraft();
  });
  input.addEventListener("keydown", (event) => {
    event.stopPropagation(); // keep the notebook's shortcuts from seeing it
    if (event.isComposing) return;
    if (event.key === "Enter" && !event.shiftKey && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      submit();
    } else if (event.key === "Escape") {
      if (isAnswering()) post({ do: "stop" });
    } else if (event.key === "ArrowUp" || event.key === "ArrowDown") {
      if (recallQuestion(event.key === "ArrowUp" ? 1 : -1)) event.preventDefault();
    }
  });
  input.addEventListener("paste", (event) => {
    const files = [...event.clipboardData.files];
    event.stopPropagation();
    if (!files.length || event.clipboardData.getData("text/plain")) return;
    event.preventDefault();
    uploadFiles(files, { nameOf: (file) => (file.name === "image.png" ? "pasted image" : file.name) });
  });
  root.addEventListener("dragover", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    event.stopPropagation();
    root.classList.add("vnb-drag-over");
  });
  root.addEventListener("dragleave", () => root.classList.remove("vnb-drag-over"));
  root.addEventListener("drop", async (event) => {
    root.classList.remove("vnb-drag-over");
    if (!event.dataTransfer.files.length) return;
    event.preventDefault();
    event.stopPropagation();
    const { files, remark } = await droppedFiles(event.dataTransfer);
    uploadFiles(files, { remark });
  });
  filePicker.addEventListener("change", () => {
    const files = [...filePicker.files];
    filePicker.value = "";
    uploadFiles(files);
    input.focus();
  });
  modelSelect.addEventListener("change", async () => {
    const { rejection } = await request({ do: "model", name: modelSelect.value });
    if (rejection) draw();
  });

  const disconnected = () => {
    isDisconnected = true;
    draw();
  };
  const endWatch = watchKernel(model, disconnected);
  const interval = setInterval(() => {
    if (isAnswering() && !pending.size && !isDisconnected) request({ do: "ping" });
  }, KERNEL_CHECK_INTERVAL);
  const clearErrorAndDraw = () => {
    localError = "";
    draw();
  };
  const listeners = {
    "change:models": drawModels,
    "change:model": draw,
    "change:details": () => drawImages(images),
    "change:price": draw,
    "change:state": clearErrorAndDraw,
    "change:note": draw,
    "change:error": clearErrorAndDraw,
    "msg:custom": receive,
  };
  Object.entries(listeners).forEach(([name, listener]) => model.on(name, listener));
  el.append(root);
  drawModels();
  draw();
  request({ do: "hello" }).then(() => {
    isConnected = true;
    draw();
  });
  return () => {
    endWatch();
    clearInterval(interval);
    Object.entries(listeners).forEach(([name, listener]) => model.off(name, listener));
  };
}

export default { render };
