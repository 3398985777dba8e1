// Draws the turns that Python sends, and tells Python which button was pressed; it decides nothing itself.
// Everything but an answer's html is put in as text. The html comes cleaned.

const LOOK = 2000; // milliseconds between two looks whether the kernel is there

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

// Replaces only the blocks that differ, so that a growing answer neither flickers nor loses a selection.
function drawBlocks(box, html) {
  const template = document.createElement("template");
  template.innerHTML = html;
  const fresh = [...template.content.childNodes].filter((node) => node.textContent.trim() || node.childNodes.length);
  // A table or code that is wider than the panel can be scrolled by keyboard too.
  for (const wide of template.content.querySelectorAll("pre, table")) wide.tabIndex = 0;
  const present = [...box.childNodes];
  let same = 0;
  while (same < Math.min(fresh.length, present.length) && fresh[same].isEqualNode(present[same])) same += 1;
  present.slice(same).forEach((node) => node.remove());
  box.append(...fresh.slice(same));
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

class Turn {
  constructor(send) {
    this.send = (message) => send({ id: this.entry.id, ...message });
    this.entry = {};
    this.html = "";
    this.pictures = element("div", { className: "vnb-pictures" });
    this.prompt = element("div", { className: "vnb-prompt", dir: "auto" });
    this.note = element("div", { className: "vnb-note" });
    this.edit = this.button("Edit", "edit this question and send it again", () => this.openEditor());
    this.question = element("div", { className: "vnb-question" }, this.pictures, this.prompt, this.note);
    this.model = element("div", { className: "vnb-model", dir: "auto" });
    this.answer = element("div", { className: "vnb-answer" });
    this.remark = element("div", { className: "vnb-remark" });
    this.error = element("div", { className: "vnb-error" });
    this.error.setAttribute("role", "alert");
    this.facts = element("span", { className: "vnb-facts" });
    this.copy = this.button("Copy", "copy this answer as Markdown", () => this.send({ do: "copy" }));
    this.again = this.button("Ask again", "ask this question again; what follows is removed", () => this.send({ do: "again" }));
    this.retry = this.button("Retry", "send this question again", () => this.send({ do: "again" }));
    this.remove = this.button("Delete from here", "remove this question and what follows", () => this.send({ do: "delete" }));
    const tools = element("span", { className: "vnb-tools" }, this.retry, this.copy, this.again, this.edit, this.remove);
    this.foot = element("div", { className: "vnb-foot" }, this.facts, tools);
    this.root = element("article", { className: "vnb-turn" }, this.question, this.model, this.answer, this.remark, this.error, this.foot);
  }

  button(text, title, act) {
    const made = element("button", { type: "button", textContent: text, title });
    made.addEventListener("click", act);
    return made;
  }

  change({ fields, keep, html }) {
    if (html !== undefined) {
      this.html = this.html.slice(0, keep) + html;
      drawBlocks(this.answer, this.html);
    }
    if (!fields) return;
    Object.assign(this.entry, fields);
    const { prompt, note, model, state, remark, error, facts } = this.entry;
    if (fields.pictures) this.drawPictures(fields.pictures);
    if ("prompt" in fields) this.closeEditor();
    this.prompt.textContent = prompt;
    this.note.textContent = note;
    this.note.hidden = !note;
    this.model.textContent = model;
    this.remark.textContent = remark ? `\u25a0 ${remark}` : "";
    this.remark.hidden = !remark;
    this.error.textContent = error ? `\u26a0 ${error}` : "";
    this.error.hidden = !error;
    this.facts.textContent = facts;
    this.root.dataset.state = state;
    const growing = state === "waiting" || state === "answering";
    this.answer.setAttribute("aria-busy", String(growing));
    this.foot.hidden = growing;
    this.retry.hidden = state !== "failed";
    this.copy.hidden = this.again.hidden = state === "failed";
    const name = prompt.slice(0, 60);
    for (const made of [this.copy, this.again, this.retry, this.remove, this.edit]) {
      made.setAttribute("aria-label", `${made.textContent}: ${name}`);
    }
    this.root.setAttribute("aria-label", `Question: ${name}`);
  }

  drawPictures(pictures) {
    this.pictures.replaceChildren(
      ...pictures.map(({ name, thumbnail }, place) => {
        const open = this.button("", `open ${name} large`, () => this.send({ do: "enlarge", place }));
        open.className = "vnb-picture";
        open.setAttribute("aria-label", `open ${name} large`);
        open.append(thumbnail ? element("img", { src: thumbnail, alt: name }) : element("bdi", { textContent: name }));
        return open;
      }),
    );
    this.pictures.hidden = !pictures.length;
  }

  openEditor() {
    const area = element("textarea", { value: this.entry.prompt, rows: 3, dir: "auto", className: "vnb-editor" });
    area.setAttribute("aria-label", "Edit the question");
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
    this.editor = element("div", { className: "vnb-editing" }, area, this.button("Send", "send the edited question; what follows is removed", save), this.button("Cancel", "leave the question as it is", cancel));
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
  const send = (message) => {
    // These take their own button away: who works by keyboard is left with the turns.
    if (["again", "edit", "delete", "put_back"].includes(message.do)) list.focus({ preventScroll: true });
    try {
      model.send(message);
    } catch {
      liveness(); // a kernel that was shut down takes no message
    }
  };
  const turns = [];
  const said = element("div");
  const list = element("div", { className: "vnb-list", tabIndex: 0 }, said);
  list.setAttribute("role", "region");
  list.setAttribute("aria-label", "Conversation");
  list.style.maxHeight = model.get("height");
  const empty = element("div", { className: "vnb-empty", textContent: "Ask about a picture: paste one below, drop it, or attach a file." });
  const totals = element("span", { className: "vnb-totals" });
  const problem = element("span", { className: "vnb-problem" });
  problem.setAttribute("role", "alert");
  const putBack = element("button", { type: "button" });
  putBack.addEventListener("click", () => send({ do: "put_back" }));
  const status = element("div", { className: "vnb-status" }, totals, problem, putBack);
  const spoken = element("div", { className: "vnb-spoken" });
  spoken.setAttribute("role", "status");
  spoken.setAttribute("aria-live", "polite");
  const large = element("dialog", { className: "vnb-large" });
  const root = element("div", { className: "vnb-transcript" }, list, status, spoken, large);
  root.setAttribute("data-lm-suppress-shortcuts", "true");

  const change = (message) => {
    if (message.at > turns.length) return;
    const isNew = message.at === turns.length;
    const turn = (turns[message.at] ??= new Turn(send));
    const before = turn.entry.state;
    turn.change(message);
    if (isNew) {
      said.append(turn.root);
      follows = true;
    }
    const { state, error } = turn.entry;
    // A screen reader hears an answer once, when it is whole.
    if (isNew && state === "waiting") spoken.textContent = "The model is answering.";
    else if (before && before !== state && state !== "answering" && state !== "waiting") {
      spoken.textContent = error ? "" : `${turn.entry.model}: ${turn.answer.textContent} ${turn.entry.remark}`;
    }
  };
  const cut = (at) => turns.splice(at).forEach((turn) => turn.root.remove());
  const drawStatus = () => {
    const { totals: line = "", problem: wrong = "", removed = 0 } = model.get("status");
    totals.textContent = line;
    const shown = wrong ? `\u26a0 ${wrong}` : "";
    if (problem.textContent !== shown) problem.textContent = shown; // written anew, it would be read out anew
    problem.hidden = !wrong;
    putBack.textContent = removed === 1 ? "Put back what was removed" : `Put back the ${removed} turns that were removed`;
    putBack.hidden = !removed;
    status.hidden = !line && !wrong && !removed;
  };
  const enlarge = ({ name, type }, buffers) => {
    const url = URL.createObjectURL(new Blob([buffers[0]], { type }));
    const close = element("button", { type: "button", textContent: "Close" });
    close.addEventListener("click", () => large.close());
    large.replaceChildren(element("img", { src: url, alt: name }), element("div", { textContent: name, dir: "auto" }), close);
    large.setAttribute("aria-label", name);
    large.addEventListener("close", () => URL.revokeObjectURL(url), { once: true });
    large.showModal();
  };
  const receive = (message, buffers) => {
    if (message.op === "all") {
      greeted = true;
      liveness();
      cut(0);
      message.entries.forEach(({ html, ...fields }, at) => change({ at, fields, keep: 0, html }));
      spoken.textContent = "";
    } else if (message.op === "change") change(message);
    else if (message.op === "cut") cut(message.at);
    else if (message.op === "copy") copyText(message.text).then(() => (spoken.textContent = "Copied."));
    else if (message.op === "enlarge") enlarge(message, buffers);
    list.classList.toggle("vnb-nothing", !turns.length);
  };

  // The plain transcript below is for readers of the file: here it would say everything twice.
  const hidden = element("style", { textContent: `.${model.get("plain")} { display: none; }` });
  let greeted = false; // whether Python has answered: a view made of saved state alone shows nothing
  const liveness = () => {
    const gone = el.closest(".jupyter-widgets-disconnected") || model.widget_manager?.kernel === null;
    if (gone || !greeted) hidden.remove();
    else if (!hidden.isConnected) document.head.append(hidden);
  };
  const check = () => setTimeout(liveness, 0);
  const looks = setInterval(liveness, LOOK);

  // A file that is dropped here goes where the question is written; the browser would leave the page for it.
  const hasFiles = (event) => [...event.dataTransfer.types].includes("Files");
  root.addEventListener("dragover", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    event.stopPropagation();
  });
  root.addEventListener("drop", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    event.stopPropagation();
    const composer = root.closest(".widget-vbox")?.querySelector(".vnb-composer");
    composer?.dispatchEvent(new DragEvent("drop", { dataTransfer: event.dataTransfer, cancelable: true }));
  });

  // Follows what arrives, pictures too, until the reader scrolls up.
  let follows = true;
  const follow = () => {
    if (follows) list.scrollTop = list.scrollHeight;
  };
  const watcher = new ResizeObserver(follow);
  watcher.observe(said);
  let top = 0;
  list.addEventListener("scroll", () => {
    const isAtEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
    if (list.scrollTop < top || isAtEnd) follows = isAtEnd;
    top = list.scrollTop;
  });

  list.append(empty);
  el.append(root);
  model.on("msg:custom", receive);
  model.on("change:status", drawStatus);
  model.on("comm_live_update", check);
  drawStatus();
  send({ do: "hello" });
  return () => {
    model.off("msg:custom", receive);
    model.off("change:status", drawStatus);
    model.off("comm_live_update", check);
    clearInterval(looks);
    watcher.disconnect();
    hidden.remove();
  };
}

export default { render };
