// The input box. It sends text and files to Python; Python decides what is attached and reports errors.

const DRAFT_DELAY = 300; // milliseconds after the last key press until the unsent text is kept
const BUSY_AFTER = 500; // milliseconds without a reply after which the kernel is shown as busy

function render({ model, el }) {
  const config = model.get("config");
  const viewId = Math.random().toString(36).slice(2);
  const pending = new Map(); // requests without a reply, by request id
  let idCount = 0;
  let uploadCount = 0;
  let recalledText = null;
  let stepsBack = 0;
  let isDisconnected = false;
  let isConnected = false; // false in a view restored from saved widget state, which has no panel in the kernel
  let isSubmitting = false;
  let attachments = [];
  let localError = ""; // an error found by this script rather than by Python

  const nextId = () => `${viewId}-${(idCount += 1)}`;
  const isAnswering = () => model.get("state") === "answering";

  const attachmentList = element("ul", { className: "vnb-attachments", "aria-label": "Attached images" });
  const input = element("textarea", {
    rows: 2,
    dir: "auto",
    placeholder: "Ask about an image\u2026",
    "aria-label": "Question. Enter sends, Shift+Enter starts a new line, Up recalls an earlier question, Escape stops",
  });
  const filePicker = element("input", { type: "file", accept: "image/*", multiple: true, hidden: true });
  const attachButton = button({ textContent: "Attach images" }, () => filePicker.click());
  const modelSelect = element("select", { title: "Model for the next question" });
  const modelLabel = element("label", { className: "vnb-model-picker" }, "Model ", modelSelect);
  const hint = element("span", { className: "vnb-hint", textContent: "Enter to send \u00b7 paste or drop images" });
  const sendButton = button({ textContent: "Send", className: "vnb-primary" }, () => submit());
  const stopButton = button({ textContent: "Stop", className: "vnb-primary" }, () => {
    post({ do: "stop" });
    input.focus();
  });
  const note = element("div", { className: "vnb-note", role: "status" });
  const progress = element("div", { className: "vnb-progress", role: "status" });
  const error = element("div", { className: "vnb-error", role: "alert" });
  const toolbar = element("div", { className: "vnb-toolbar" }, attachButton, filePicker, modelLabel, hint, sendButton, stopButton);
  const root = element(
    "div",
    { className: "vnb-composer", role: "group", "aria-label": "Ask a question", "data-lm-suppress-shortcuts": "true" },
    attachmentList, input, toolbar, note, progress, error,
  );

  const showError = (text) => {
    localError = text;
    draw();
  };
  const post = (message, buffers) => {
    try {
      model.send(message, undefined, buffers);
    } catch {
      isDisconnected = true; // the kernel was shut down
      draw();
    }
  };
  // Sends a message and waits for Python's reply, which says whether the message was rejected.
  const request = (message, buffers) =>
    new Promise((resolve) => {
      const requestId = nextId();
      pending.set(requestId, { resolve, sentAt: Date.now() });
      if (message.do !== "ping") localError = "";
      post({ ...message, request_id: requestId }, buffers);
      setTimeout(drawProgress, BUSY_AFTER + 20);
    });

  const uploadFile = async (file, name) => {
    if (isDisconnected || !isConnected) return;
    if (file.size > config.max_file_bytes) {
      showError(`${name} is larger than ${config.max_file_bytes / 1e6} MB: reduce its size first.`);
      return;
    }
    const uploadId = nextId();
    uploadCount += 1;
    draw();
    try {
      let start = 0;
      let isLast = false;
      while (!isLast) {
        const chunk = await file.slice(start, start + config.chunk_bytes).arrayBuffer();
        isLast = start + config.chunk_bytes >= file.size;
        const { rejected } = await request({ do: "upload", upload_id: uploadId, name, start, last: isLast }, [chunk]);
        if (rejected) break;
        start += chunk.byteLength;
      }
    } catch {
      post({ do: "cancel_upload", upload_id: uploadId });
      showError(`${name} could not be read completely: attach it again.`);
    } finally {
      uploadCount -= 1;
      draw();
    }
  };
  const uploadFiles = async (files, nameOf = (file) => file.name) => {
    for (const file of files) await uploadFile(file, nameOf(file) || "image");
  };

  const submit = async () => {
    if (isSubmitting) return;
    if (isAnswering()) {
      showError("The model is still answering: wait, or press Esc to stop it.");
      return;
    }
    if (uploadCount) {
      showError("An image is still uploading: send again in a moment.");
      return;
    }
    const text = input.value;
    isSubmitting = true;
    input.focus(); // the Send button is hidden during the answer
    try {
      const { rejected } = await request({ do: "send", text });
      if (!rejected && input.value === text) {
        input.value = "";
        post({ do: "draft", text: "" });
        stepsBack = 0;
        recalledText = null;
      }
    } finally {
      isSubmitting = false;
    }
  };
  const recallQuestion = (step) => {
    if (input.value && input.value !== recalledText) return false;
    post({ do: "recall", steps_back: Math.max(0, stepsBack + step), view: viewId });
    return true;
  };

  const attachmentItem = ({ name, thumbnail, detail }, index) => {
    const detailSelect = element(
      "select",
      { title: `Detail level of ${name}`, "aria-label": `Detail level of ${name}` },
      ...["", ...config.details].map((value) =>
        element("option", { value, textContent: `Detail: ${value || "default"}`, selected: value === detail }),
      ),
    );
    detailSelect.addEventListener("change", () => post({ do: "detail", index, detail: detailSelect.value }));
    const removeButton = button({ textContent: "\u2715", title: `Remove ${name}`, "aria-label": `Remove ${name}` }, () => {
      post({ do: "remove", index });
      input.focus();
    });
    const image = thumbnail ? element("img", { src: thumbnail, alt: "" }) : element("span", { className: "vnb-no-thumbnail" });
    const fileName = element("bdi", { className: "vnb-file-name", textContent: name, title: name });
    return element("li", {}, image, fileName, detailSelect, removeButton);
  };

  // The parts are drawn separately, so that a change to one part does not take the focus from another.
  const drawAttachments = () => {
    const controls = () => [...attachmentList.querySelectorAll("select, button")];
    const focused = controls().indexOf(document.activeElement);
    attachmentList.replaceChildren(...attachments.map(attachmentItem));
    attachmentList.hidden = !attachments.length;
    if (focused >= 0) (controls()[focused] ?? input).focus();
  };
  const drawModels = () => {
    modelSelect.replaceChildren(...model.get("models").map((name) => element("option", { value: name, textContent: name })));
    modelSelect.value = model.get("model");
  };
  const drawProgress = () => {
    const isBusy = [...pending.values()].some(({ sentAt }) => Date.now() - sentAt >= BUSY_AFTER);
    let text = uploadCount ? "Uploading an image\u2026" : "";
    if (isBusy && !isDisconnected) {
      text = isConnected
        ? "Waiting for the kernel: another cell is running."
        : "Waiting for the kernel. If it was restarted, run this cell again to continue.";
    }
    setLiveText(progress, text);
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
    setLiveText(note, model.get("note"));
    const text = isDisconnected
      ? "The kernel was restarted or stopped: run this cell again to continue. The conversation is kept below."
      : localError || model.get("error");
    setLiveText(error, text ? `\u26a0 ${text}` : "");
    drawProgress();
  };
  const receive = (message) => {
    if (message.reply_to) {
      pending.get(message.reply_to)?.resolve(message);
      pending.delete(message.reply_to);
      draw();
    } else if (message.attachments) {
      attachments = message.attachments;
      drawAttachments();
    } else if (message.draft !== undefined) {
      if (!input.value) input.value = message.draft; // the page was reloaded
    } else if (message.recall !== undefined && message.view === viewId) {
      stepsBack = message.steps_back;
      input.value = recalledText = message.recall;
    }
  };

  passOnSaveKeys(root);
  let draftTimer;
  input.addEventListener("input", () => {
    clearTimeout(draftTimer);
    draftTimer = setTimeout(() => isConnected && post({ do: "draft", text: input.value }), DRAFT_DELAY);
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
    uploadFiles(files, (file) => (file.name === "image.png" ? "pasted image" : file.name));
  });
  root.addEventListener("dragover", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    event.stopPropagation();
    root.classList.add("vnb-drag-over");
  });
  root.addEventListener("dragleave", () => root.classList.remove("vnb-drag-over"));
  root.addEventListener("drop", (event) => {
    root.classList.remove("vnb-drag-over");
    if (!event.dataTransfer.files.length) return;
    event.preventDefault();
    event.stopPropagation();
    uploadFiles([...event.dataTransfer.files]);
  });
  filePicker.addEventListener("change", async () => {
    const files = [...filePicker.files];
    filePicker.value = "";
    await uploadFiles(files);
    input.focus();
  });
  modelSelect.addEventListener("change", async () => {
    const { rejected } = await request({ do: "model", name: modelSelect.value });
    if (rejected) draw();
  });

  const checkKernel = () => {
    const isGone = isKernelGone(model, el);
    if (isGone === isDisconnected) return;
    isDisconnected = isGone;
    draw();
  };
  const checkKernelSoon = () => setTimeout(checkKernel, 0);
  const interval = setInterval(() => {
    checkKernel();
    if (isAnswering() && !pending.size && !isDisconnected) request({ do: "ping" });
  }, KERNEL_CHECK_INTERVAL);
  const clearErrorAndDraw = () => {
    localError = "";
    draw();
  };
  const listeners = {
    "change:models": drawModels,
    "change:model": draw,
    "change:state": clearErrorAndDraw,
    "change:note": draw,
    "change:error": clearErrorAndDraw,
    "msg:custom": receive,
    comm_live_update: checkKernelSoon,
  };
  Object.entries(listeners).forEach(([name, listener]) => model.on(name, listener));
  el.append(root);
  drawModels();
  drawAttachments();
  draw();
  request({ do: "hello" }).then(() => {
    isConnected = true;
    draw();
  });
  checkKernelSoon();
  return () => {
    clearInterval(interval);
    Object.entries(listeners).forEach(([name, listener]) => model.off(name, listener));
  };
}

export default { render };
