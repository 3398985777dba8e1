// Draws one turn: the question with its images, and the answer, each with its actions.

const GROWING = ["waiting", "thinking", "answering"]; // the states of a turn whose answer is not complete

class TurnElement {
  constructor(send, announce) {
    this.send = (message) => send({ id: this.view.id, ...message });
    this.announce = announce;
    this.view = {};
    this.html = { html: "", reasoning: "" };
    this.images = element("div", { className: "vnb-turn-images" });
    this.prompt = element("div", { className: "vnb-prompt", dir: "auto" });
    this.note = element("div", { className: "vnb-note" });
    this.copyQuestion = this.action("copy", "Copy question", "Copy this question", () => this.copied(this.copyQuestion, this.view.prompt));
    this.edit = this.action("edit", "Edit", "Edit this question and send it again", () => this.openEditor());
    this.delete = this.action("delete", "Delete from here", "Delete this question and everything after it", () => this.send({ do: "delete" }));
    this.questionActions = element("div", { className: "vnb-actions" }, this.copyQuestion, this.edit, this.delete);
    this.question = element("div", { className: "vnb-question" }, this.images, this.prompt, this.note);
    this.model = element("div", { className: "vnb-model", dir: "auto" });
    this.waiting = element("div", { className: "vnb-waiting" });
    this.reasoningSummary = element("summary");
    this.reasoning = element("div", { className: "vnb-markdown" });
    this.reasoningBlock = element("details", { className: "vnb-reasoning", hidden: true }, this.reasoningSummary, this.reasoning);
    this.answer = element("div", { className: "vnb-answer vnb-markdown" });
    this.remark = element("div", { className: "vnb-remark" });
    this.error = element("div", { className: "vnb-error", role: "alert" });
    this.copy = this.action("copy", "Copy answer", "Copy this answer as Markdown", () => this.copied(this.copy, this.view.text));
    this.askAgain = this.action("again", "Ask again", "Ask this question again, and remove the turns after it", () => this.send({ do: "ask_again" }));
    this.retry = this.action("again", "Retry", "Send this question again", () => this.send({ do: "ask_again" }));
    this.retry.append("Retry");
    this.askAgainLabel = element("span", { textContent: "Ask again" });
    this.askAgain.append(this.askAgainLabel);
    this.answerActions = element("div", { className: "vnb-actions" }, this.copy, this.askAgain, this.retry);
    this.details = element("span", { className: "vnb-details" });
    this.footer = element("div", { className: "vnb-footer" }, this.details, this.answerActions);
    this.root = element("article", { className: "vnb-turn" }, this.question, this.questionActions, this.model, this.waiting,
      this.reasoningBlock, this.answer, this.remark, this.error, this.footer);
    for (const container of [this.reasoning, this.answer]) listenForCopies(container, announce);
  }

  action(iconName, label, title, onClick) {
    const node = button({ className: "vnb-action", title }, onClick);
    node.dataset.label = label;
    node.append(icon(iconName));
    return node;
  }

  // Applies changed fields, and the new end of the HTML after its first `keep` characters.
  update({ fields, html, reasoning, waited = 0 }) {
    this.updateHtml("html", this.answer, html);
    this.updateHtml("reasoning", this.reasoning, reasoning);
    if (!fields) return;
    const isSent = this.view.wait && fields.wait === "";
    if (isSent || (fields.state && fields.state !== this.view.state)) this.stateSince = performance.now() - 1000 * waited;
    Object.assign(this.view, fields);
    const { prompt, note, model, state, remark, error, details } = this.view;
    if (fields.images) this.drawImages(fields.images);
    if ("prompt" in fields) this.closeEditor();
    this.prompt.textContent = prompt;
    this.note.textContent = note;
    this.note.hidden = !note;
    this.model.textContent = model;
    this.drawWaiting();
    this.remark.textContent = remark ? `\u25a0 ${remark}` : "";
    this.remark.hidden = !remark;
    setLiveText(this.error, error ? `\u26a0 ${error}` : "");
    this.details.textContent = details;
    this.root.dataset.state = state;
    const isGrowing = GROWING.includes(state);
    this.answer.setAttribute("aria-busy", String(isGrowing));
    this.footer.hidden = this.edit.hidden = this.delete.hidden = isGrowing;
    this.retry.hidden = state !== "failed";
    this.copy.hidden = this.askAgain.hidden = state === "failed";
    this.askAgainLabel.hidden = state !== "stopped"; // where it is the obvious next step
    const name = prompt.slice(0, 60);
    for (const node of this.root.querySelectorAll(".vnb-action")) node.setAttribute("aria-label", `${node.dataset.label}: ${name}`);
    this.root.setAttribute("aria-label", `Question: ${name}`);
  }

  updateHtml(name, container, change) {
    if (!change) return;
    this.html[name] = this.html[name].slice(0, change.keep) + change.end;
    updateBlocks(container, this.html[name]);
  }

  // Shows how long the model has been silent or thinking, or why the question is not sent yet. The page counts the
  // seconds of the model, so that the kernel sends nothing.
  drawWaiting(isKernelGone = false) {
    const { state, wait, reasoning_summary } = this.view;
    const seconds = Math.floor((performance.now() - this.stateSince) / 1000);
    const time = isKernelGone ? " (the kernel was restarted or stopped)" : seconds ? ` ${seconds} s` : "";
    this.waiting.textContent = state === "waiting" ? wait || `Thinking\u2026${time}` : "";
    this.waiting.hidden = state !== "waiting";
    this.reasoningSummary.textContent = state === "thinking" ? reasoning_summary + time : reasoning_summary;
    this.reasoningBlock.hidden = !reasoning_summary;
  }

  async copied(node, text) {
    const outcome = await copyText(text);
    if (outcome === COPIED) node.replaceChildren(icon("done"));
    else node.replaceChildren(icon("close"), outcome);
    this.announce(outcome);
    setTimeout(() => node.replaceChildren(icon("copy")), COPIED_TIME);
  }

  drawImages(images) {
    this.images.replaceChildren(
      ...images.map(({ name, thumbnail }, index) => {
        const label = `Enlarge ${name}`;
        const enlarge = button({ className: "vnb-image", title: label, "aria-label": label }, () => this.send({ do: "enlarge", index, view: viewId(this.root) }));
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
    const sendButton = button({ textContent: "Send", title: "Send the edited question, and remove the turns after it" }, save);
    const cancelButton = button({ textContent: "Cancel", title: "Keep the question unchanged" }, cancel);
    this.closeEditor();
    this.editor = element("div", { className: "vnb-editing" }, area, sendButton, cancelButton);
    this.prompt.hidden = this.questionActions.hidden = true;
    this.question.append(this.editor);
    area.focus();
  }

  closeEditor() {
    if (this.editor?.contains(this.root.getRootNode().activeElement)) this.root.closest(".vnb-list").focus({ preventScroll: true });
    this.editor?.remove();
    this.editor = undefined;
    this.prompt.hidden = this.questionActions.hidden = false;
  }
}
