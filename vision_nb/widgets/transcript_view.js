// Draws the turns that Python sends, and tells Python which button was pressed.
// Everything is inserted as text except the HTML of an answer, which Python has sanitized.

const GROWING = ["waiting", "thinking", "answering"]; // the states of a turn whose answer is not complete

// Replaces only the blocks that differ, so that a growing answer does not flicker or lose a selection.
function updateBlocks(container, html) {
  const template = document.createElement("template");
  template.innerHTML = html;
  const blocks = [...template.content.childNodes].filter((node) => node.textContent.trim() || node.childNodes.length);
  // Let the keyboard scroll tables and code that are wider than the panel.
  for (const wide of template.content.querySelectorAll("pre, table")) wide.tabIndex = 0;
  const present = [...container.childNodes];
  let unchanged = 0;
  while (unchanged < Math.min(blocks.length, present.length) && blocks[unchanged].isEqualNode(present[unchanged])) unchanged += 1;
  present.slice(unchanged).forEach((node) => node.remove());
  container.append(...blocks.slice(unchanged));
}

async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = element("textarea", { value: text });
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
}

class TurnElement {
  constructor(send) {
    this.send = (message) => send({ id: this.view.id, ...message });
    this.view = {};
    this.html = { html: "", reasoning: "" };
    this.images = element("div", { className: "vnb-images" });
    this.prompt = element("div", { className: "vnb-prompt", dir: "auto" });
    this.note = element("div", { className: "vnb-note" });
    this.question = element("div", { className: "vnb-question" }, this.images, this.prompt, this.note);
    this.model = element("div", { className: "vnb-model", dir: "auto" });
    this.reasoningSummary = element("summary");
    this.reasoning = element("div", { className: "vnb-markdown" });
    this.reasoningBlock = element("details", { className: "vnb-reasoning", hidden: true }, this.reasoningSummary, this.reasoning);
    this.answer = element("div", { className: "vnb-answer vnb-markdown" });
    this.remark = element("div", { className: "vnb-remark" });
    this.error = element("div", { className: "vnb-error", role: "alert" });
    this.details = element("span", { className: "vnb-details" });
    this.retry = this.actionButton("Retry", "Send this question again", () => this.send({ do: "ask_again" }));
    this.copy = this.actionButton("Copy", "Copy this answer as Markdown", () => this.send({ do: "copy" }));
    this.askAgain = this.actionButton("Ask again", "Ask this question again, and remove the turns after it", () => this.send({ do: "ask_again" }));
    this.edit = this.actionButton("Edit", "Edit this question and send it again", () => this.openEditor());
    this.delete = this.actionButton("Delete this and later", "Delete this turn and the turns after it", () => this.send({ do: "delete" }));
    this.buttons = [this.retry, this.copy, this.askAgain, this.edit, this.delete];
    this.footer = element("div", { className: "vnb-footer" }, this.details, element("span", { className: "vnb-actions" }, ...this.buttons));
    this.root = element("article", { className: "vnb-turn" }, this.question, this.model, this.reasoningBlock, this.answer, this.remark, this.error, this.footer);
  }

  actionButton(textContent, title, onClick) {
    return button({ textContent, title }, onClick);
  }

  // Applies changed fields, and the new end of the HTML after its first `keep` characters.
  update({ fields, html, reasoning }) {
    this.updateHtml("html", this.answer, html);
    this.updateHtml("reasoning", this.reasoning, reasoning);
    if (!fields) return;
    Object.assign(this.view, fields);
    const { prompt, note, model, reasoning_summary, state, remark, error, details } = this.view;
    if (fields.images) this.drawImages(fields.images);
    if ("prompt" in fields) this.closeEditor();
    this.prompt.textContent = prompt;
    this.note.textContent = note;
    this.note.hidden = !note;
    this.model.textContent = model;
    this.reasoningSummary.textContent = reasoning_summary;
    this.reasoningBlock.hidden = !reasoning_summary;
    this.remark.textContent = remark ? `\u25a0 ${remark}` : "";
    this.remark.hidden = !remark;
    this.error.textContent = error ? `\u26a0 ${error}` : "";
    this.error.hidden = !error;
    this.details.textContent = details;
    this.root.dataset.state = state;
    const isGrowing = GROWING.includes(state);
    this.answer.setAttribute("aria-busy", String(isGrowing));
    this.footer.hidden = isGrowing;
    this.retry.hidden = state !== "failed";
    this.copy.hidden = this.askAgain.hidden = state === "failed";
    const name = prompt.slice(0, 60);
    for (const node of this.buttons) node.setAttribute("aria-label", `${node.textContent}: ${name}`);
    this.root.setAttribute("aria-label", `Question: ${name}`);
  }

  updateHtml(name, container, change) {
    if (!change) return;
    this.html[name] = this.html[name].slice(0, change.keep) + change.end;
    updateBlocks(container, this.html[name]);
  }

  drawImages(images) {
    this.images.replaceChildren(
      ...images.map(({ name, thumbnail }, index) => {
        const label = `Enlarge ${name}`;
        const enlarge = button({ className: "vnb-image", title: label, "aria-label": label }, () => this.send({ do: "enlarge", index }));
        enlarge.append(thumbnail ? element("img", { src: thumbnail, alt: name }) : element("bdi", { textContent: name }));
        return enlarge;
      }),
    );
    this.images.hidden = !images.length;
  }

  openEditor() {
    const area = element("textarea", { value: this.view.prompt, rows: 3, dir: "auto", className: "vnb-editor", "aria-label": "Edit the question" });
    const save = () => this.send({ do: "edit", text: area.value });
    const cancel = () => {
      this.closeEditor();
      this.edit.focus();
    };
    area.addEventListener("keydown", (event) => {
      event.stopPropagation();
      if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
        event.preventDefault();
        save();
      } else if (event.key === "Escape") cancel();
    });
    const sendButton = this.actionButton("Send", "Send the edited question, and remove the turns after it", save);
    const cancelButton = this.actionButton("Cancel", "Keep the question unchanged", cancel);
    this.editor = element("div", { className: "vnb-editing" }, area, sendButton, cancelButton);
    this.prompt.hidden = true;
    this.question.append(this.editor);
    area.focus();
  }

  closeEditor() {
    this.editor?.remove();
    this.editor = undefined;
    this.prompt.hidden = false;
  }
}

function render({ model, el }) {
  const turns = [];
  let isConnected = false; // false in a view restored from saved widget state, which has no panel in the kernel

  const turnList = element("div");
  const placeholder = element("div", { className: "vnb-placeholder", textContent: "Ask about an image: paste it below, drop it here, or attach a file." });
  const list = element("div", { className: "vnb-list", tabIndex: 0, role: "region", "aria-label": "Conversation" }, turnList, placeholder);
  list.style.maxHeight = model.get("height");
  const totals = element("span", { className: "vnb-totals" });
  const badge = element("span", { className: "vnb-badge" });
  const error = element("span", { className: "vnb-error", role: "alert" });
  const continued = element("span");
  const restoreButton = button({}, () => send({ do: "restore" }));
  const newButton = button({ textContent: "New conversation", title: "Remove all turns and start a new conversation" }, () => send({ do: "start_new" }));
  const exportButton = button({ textContent: "Export", title: "Download the conversation as a web page" }, () => send({ do: "export" }));
  const unsaved = element("div", { className: "vnb-unsaved", role: "status", hidden: true }, element("span"), exportButton);
  const status = element("div", { className: "vnb-status" }, totals, badge, continued, error, restoreButton, newButton);
  const earlier = earlierMenu((id) => send({ do: "open", id }));
  const announcement = element("div", { className: "vnb-announcement", role: "status", "aria-live": "polite" });
  const lightbox = element("dialog", { className: "vnb-lightbox" });
  const root = element("div", { className: "vnb-transcript", "data-lm-suppress-shortcuts": "true" }, list, status, earlier.root, unsaved, announcement, lightbox);

  const send = (message) => {
    // These actions remove or hide the button that was pressed: keep the keyboard focus in the transcript.
    if (["ask_again", "edit", "delete", "restore", "start_new", "open"].includes(message.do)) list.focus({ preventScroll: true });
    try {
      model.send(message);
    } catch {
      updateStaticTranscript(); // the kernel was shut down
    }
  };

  const updateTurn = (message) => {
    if (message.index > turns.length) return;
    const isNew = message.index === turns.length;
    const turn = (turns[message.index] ??= new TurnElement(send));
    const previousState = turn.view.state;
    turn.update(message);
    if (isNew) {
      turnList.append(turn.root);
      isFollowing = true;
    }
    const { state, error } = turn.view;
    // Screen readers announce an answer once, when it is complete.
    if (isNew && state === "waiting") announcement.textContent = "The model is answering.";
    else if (previousState && previousState !== state && !GROWING.includes(state)) {
      announcement.textContent = error ? "" : `${turn.view.model}: ${turn.answer.textContent} ${turn.view.remark}`;
    }
  };
  const truncate = (length) => turns.splice(length).forEach((turn) => turn.root.remove());
  const drawStatus = () => {
    const { totals: totalsText = "", badge: badgeText = "", error: errorText = "", removed = 0, continued_from, can_start_new } = model.get("status");
    totals.textContent = totalsText;
    badge.textContent = badgeText;
    badge.hidden = !badgeText;
    setLiveText(error, errorText ? `\u26a0 ${errorText}` : "");
    restoreButton.textContent = removed === 1 ? "Restore the removed turn" : `Restore the ${removed} removed turns`;
    restoreButton.hidden = !removed;
    const options = { dateStyle: "medium", timeStyle: "short" };
    continued.textContent = continued_from ? `Continued from ${new Date(continued_from * 1000).toLocaleString("en", options)}` : "";
    continued.hidden = !continued_from;
    newButton.hidden = !can_start_new;
    earlier.draw(model.get("status").earlier);
    status.hidden = !totalsText && !errorText && !removed && !can_start_new;
  };
  const enlarge = ({ name, type }, buffers) => {
    const url = URL.createObjectURL(new Blob([buffers[0]], { type }));
    const caption = element("div", { textContent: name, dir: "auto" });
    const closeButton = button({ textContent: "Close" }, () => lightbox.close());
    lightbox.replaceChildren(element("img", { src: url, alt: name }), caption, closeButton);
    lightbox.setAttribute("aria-label", name);
    lightbox.addEventListener("close", () => URL.revokeObjectURL(url), { once: true });
    lightbox.showModal();
  };
  const download = ({ name, type }, buffers) => {
    const url = URL.createObjectURL(new Blob([buffers[0]], { type }));
    element("a", { href: url, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(url), 60_000);
  };
  const receive = (message, buffers) => {
    if (message.op === "reset") {
      isConnected = true;
      updateStaticTranscript();
      truncate(0);
      message.turns.forEach(({ html, reasoning, ...fields }, index) =>
        updateTurn({ index, fields, html: { keep: 0, end: html }, reasoning: { keep: 0, end: reasoning } }),
      );
      announcement.textContent = "";
    } else if (message.op === "update") updateTurn(message);
    else if (message.op === "truncate") truncate(message.length);
    else if (message.op === "copy") copyText(message.text).then(() => (announcement.textContent = "Copied."));
    else if (message.op === "enlarge") enlarge(message, buffers);
    else if (message.op === "export") download(message, buffers);
    list.classList.toggle("vnb-is-empty", !turns.length);
  };

  // The static transcript below the panel is for readers of the saved notebook: hide it while the panel works.
  const hidingStyle = element("style", { textContent: `.${model.get("static_class")} { display: none; }` });
  const updateStaticTranscript = () => {
    if (!isConnected || isKernelGone(model, el)) hidingStyle.remove();
    else if (!hidingStyle.isConnected) document.head.append(hidingStyle);
  };
  const checkKernelSoon = () => setTimeout(updateStaticTranscript, 0);
  // A page that was reloaded cannot update earlier outputs: the static transcript then lacks the messages since.
  // Elsewhere than in JupyterLab and Notebook 7, outputs may be in other documents, which cannot be checked.
  let missedChecks = 0;
  const checkSaved = () => {
    const version = model.get("static_version");
    const outputs = el.closest(".jp-Notebook .jp-OutputArea");
    const isCurrent = !version || !outputs || outputs.querySelector(`.${model.get("static_class")}-${version}`);
    missedChecks = isCurrent || isKernelGone(model, el) ? 0 : missedChecks + 1;
    const text = missedChecks < 2 ? "" : "The saved notebook does not contain the messages since this page was reloaded: run this cell again, or export the conversation.";
    setLiveText(unsaved.firstChild, text);
    unsaved.hidden = !text;
  };
  const interval = setInterval(() => {
    updateStaticTranscript();
    checkSaved();
  }, KERNEL_CHECK_INTERVAL);

  // Pass dropped files on to the composer; by default, the browser would open them in place of the page.
  const acceptFiles = (event) => {
    if (!hasFiles(event)) return false;
    event.preventDefault();
    event.stopPropagation();
    return true;
  };
  root.addEventListener("dragover", acceptFiles);
  root.addEventListener("drop", (event) => {
    if (!acceptFiles(event)) return;
    const composer = root.closest(".widget-vbox")?.querySelector(".vnb-composer");
    composer?.dispatchEvent(new DragEvent("drop", { dataTransfer: event.dataTransfer, cancelable: true }));
  });

  // Keep the end of the conversation in view until the reader scrolls up.
  let isFollowing = true;
  let previousTop = 0;
  const observer = new ResizeObserver(() => {
    if (isFollowing) list.scrollTop = list.scrollHeight;
  });
  observer.observe(turnList);
  list.addEventListener("scroll", () => {
    const isAtEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
    if (list.scrollTop < previousTop || isAtEnd) isFollowing = isAtEnd;
    previousTop = list.scrollTop;
  });

  const listeners = { "msg:custom": receive, "change:status": drawStatus, comm_live_update: checkKernelSoon };
  Object.entries(listeners).forEach(([name, listener]) => model.on(name, listener));
  passOnSaveKeys(root);
  el.append(root);
  drawStatus();
  send({ do: "hello" });
  return () => {
    Object.entries(listeners).forEach(([name, listener]) => model.off(name, listener));
    clearInterval(interval);
    observer.disconnect();
    hidingStyle.remove();
  };
}

export default { render };
