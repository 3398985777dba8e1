// Draws the turns that Python sends, and tells Python which button was pressed.
// Everything is inserted as text except the HTML of an answer, which Python has sanitized.

function render({ model, el }) {
  const turns = [];
  let isKernelGone = false;
  let isConnected = false; // false in a view restored from saved widget state, which has no panel in the kernel

  const turnList = element("div");
  const placeholder = element("div", { className: "vnb-placeholder", textContent: "Ask about an image: paste it below, drop it here, or attach a file." });
  const list = element("div", { className: "vnb-list", tabIndex: 0, role: "region", "aria-label": "Conversation" }, turnList, placeholder);
  const jump = button({ className: "vnb-jump", textContent: "\u2193", title: "Jump to the latest answer", "aria-label": "Jump to the latest answer", hidden: true }, () => {
    list.focus({ preventScroll: true }); // the button disappears
    following = "end";
    follow();
  });
  list.style.maxHeight = model.get("height");
  const totals = element("span", { className: "vnb-totals" });
  const badge = element("span", { className: "vnb-badge" });
  const error = element("span", { className: "vnb-error", role: "alert" });
  const continued = element("span");
  const restoreButton = button({}, () => send({ do: "restore" }));
  const newButton = button({ textContent: "New conversation", title: "Remove all turns and start a new conversation" }, () => send({ do: "start_new" }));
  const exportButton = button({ textContent: "Export", title: "Download the conversation as a web page" }, () => send({ do: "export", view: viewId(root) }));
  const unsaved = element("div", { className: "vnb-unsaved", role: "status", hidden: true }, element("span"), exportButton);
  const status = element("div", { className: "vnb-status" }, totals, badge, continued, error, restoreButton, newButton);
  const earlier = earlierMenu((id) => send({ do: "open", id }));
  const announcement = element("div", { className: "vnb-announcement", role: "status", "aria-live": "polite" });
  let enlarged = null; // the image in the dialog, by its index, among `count` images; see `enlarge` in controller.py
  const dialog = imageDialog({
    onEnlarge: () => {}, // Python sends all pixels at once
    onStep: (by) => send({ do: "enlarge_other", index: enlarged.index + by, view: viewId(root) }),
  });
  const root = element("div", { className: "vnb-transcript", "data-lm-suppress-shortcuts": "true" }, element("div", { className: "vnb-scroll" }, list, jump), status, earlier.root, unsaved, announcement, dialog.node);

  const composer = () => root.closest(".widget-vbox")?.querySelector(".vnb-composer");
  const send = (message) => {
    // These actions hide the button that was pressed: keep the keyboard focus in the transcript.
    if (["ask_again", "delete", "restore", "start_new", "open"].includes(message.do)) list.focus({ preventScroll: true });
    try {
      model.send(message);
      composer()?.dispatchEvent(new Event("vnb-sent")); // shows if the kernel is busy
    } catch {
      updateStaticTranscript(); // the kernel was shut down
    }
  };

  const announce = (text) => (announcement.textContent = text);
  const updateTurn = (message) => {
    if (message.index > turns.length) return;
    const isNew = message.index === turns.length;
    const turn = (turns[message.index] ??= new TurnElement(send, announce));
    const { id: previousId, state: previousState } = turn.view;
    turn.update(message);
    if (isNew) turnList.append(turn.root);
    const { id, state, error } = turn.view;
    const isOther = id !== previousId && previousId !== "answering"; // the id of a turn until its answer is complete
    if (isOther && wasAskedHere()) following = "question";
    // Screen readers announce the start of an answer, and the answer once, when it is complete.
    const [wasGrowing, isGrowing] = [previousState, state].map((one) => GROWING.includes(one));
    if (isGrowing && !wasGrowing) announcement.textContent = "The model is answering.";
    else if (previousState && previousState !== state && !isGrowing) {
      announcement.textContent = error ? "" : `${turn.view.model}: ${spokenText(turn.answer)} ${turn.view.remark}`;
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
  const enlarge = (message) => {
    enlarged = message;
    dialog.show(message, message.name, message.index, message.count);
  };
  const download = ({ name, type }, buffers) => {
    const url = URL.createObjectURL(new Blob([buffers[0]], { type }));
    element("a", { href: url, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(url), 60_000);
  };
  const receive = (message, buffers) => {
    if (!isConnected && message.op !== "reset") return; // a change to turns that the answer to "hello" will contain
    if (message.op === "reset") {
      isConnected = true;
      updateStaticTranscript();
      message.turns.forEach(({ html, reasoning, ...fields }, index) =>
        updateTurn({ index, fields, waited: message.waited, html: { keep: 0, end: html }, reasoning: { keep: 0, end: reasoning } }),
      );
      truncate(message.turns.length);
      announcement.textContent = "";
    } else if (message.op === "update") updateTurn(message);
    else if (message.op === "truncate") truncate(message.length);
    else if (message.view !== viewId(root)) return; // the button was pressed in another view of the panel
    else if (message.op === "enlarge") enlarge(message);
    else if (message.op === "export") download(message, buffers);
    list.classList.toggle("vnb-is-empty", !turns.length);
    follow(); // before the next scroll event, which could be due to a message that shortened the list
  };

  // The static transcript below the panel is for readers of the saved notebook: hide it while the panel works.
  const hidingStyle = element("style", { textContent: `.${model.get("static_class")} { display: none; }` });
  const updateStaticTranscript = () => {
    if (!isConnected || isKernelGone) hidingStyle.remove();
    else if (!hidingStyle.isConnected) document.head.append(hidingStyle);
  };
  // A page that was reloaded cannot update earlier outputs: the static transcript then lacks the messages since.
  // Elsewhere than in JupyterLab and Notebook 7, outputs may be in other documents, which cannot be checked.
  let missedChecks = 0;
  const checkSaved = () => {
    const version = model.get("static_version");
    const outputs = el.closest(".jp-Notebook .jp-OutputArea");
    const isCurrent = !version || !outputs || outputs.querySelector(`.${model.get("static_class")}-${version}`);
    missedChecks = isCurrent || isKernelGone ? 0 : missedChecks + 1;
    const text = missedChecks < 2 ? "" : "The saved notebook does not contain the messages since this page was reloaded: run this cell again, or export the conversation.";
    setLiveText(unsaved.firstChild, text);
    unsaved.hidden = !text;
  };
  const endWatch = watchKernel(model, () => {
    isKernelGone = true;
    updateStaticTranscript();
  });
  const interval = setInterval(checkSaved, KERNEL_CHECK_INTERVAL);
  const clock = setInterval(() => turns.at(-1)?.drawWaiting(isKernelGone), 1000);

  // Pass dropped files on to the composer; by default, the browser would open them in place of the page.
  const acceptFiles = (event) => {
    if (!hasFiles(event)) return false;
    event.preventDefault();
    event.stopPropagation();
    return true;
  };
  list.addEventListener("keydown", ({ key }) => {
    if (key === "Escape" && GROWING.includes(turns.at(-1)?.view.state)) send({ do: "stop" }); // as in the input box
  });
  root.addEventListener("dragover", acceptFiles);
  root.addEventListener("drop", (event) => {
    if (!acceptFiles(event)) return;
    composer()?.dispatchEvent(new DragEvent("drop", { dataTransfer: event.dataTransfer, cancelable: true }));
  });

  // While the reader is at the end of the conversation, keep the end in view. After a question, do so only until the
  // question reaches the top, so that its answer can be read from the start. Otherwise, offer a jump to the end.
  let following = "end"; // or "question", or null
  let ownTop = 0; // where `follow` scrolled to
  let previousTop = 0;
  const isAtEnd = () => list.scrollHeight - list.scrollTop - list.clientHeight < 40;
  // A hidden button would lose the keyboard focus, and the next Tab would start at the top of the page.
  const drawJump = () => (jump.hidden = isAtEnd() && jump.getRootNode().activeElement !== jump);
  jump.addEventListener("blur", () => (jump.hidden = isAtEnd()));
  const wasAskedHere = () => (root.closest(".widget-vbox") ?? root).contains(root.getRootNode().activeElement);
  const follow = () => {
    if (following) {
      let top = list.scrollHeight - list.clientHeight;
      if (following === "question" && turns.length) {
        const questionTop = list.scrollTop + turns.at(-1).root.getBoundingClientRect().top - list.getBoundingClientRect().top;
        if (questionTop < top) following = null;
        top = Math.min(top, questionTop);
      }
      list.scrollTop = top;
      ownTop = list.scrollTop;
    }
    drawJump();
  };
  const observer = new ResizeObserver(follow);
  observer.observe(turnList);
  observer.observe(list);
  list.addEventListener("scroll", () => {
    const isReader = list.scrollTop !== ownTop;
    if (isReader && (list.scrollTop < previousTop || isAtEnd())) following = isAtEnd() ? "end" : null;
    drawJump();
    previousTop = list.scrollTop;
  });

  const listeners = { "msg:custom": receive, "change:status": drawStatus };
  Object.entries(listeners).forEach(([name, listener]) => model.on(name, listener));
  passOnSaveKeys(root);
  el.append(root);
  drawStatus();
  send({ do: "hello" });
  return () => {
    Object.entries(listeners).forEach(([name, listener]) => model.off(name, listener));
    endWatch();
    dialog.end();
    clearInterval(interval);
    clearInterval(clock);
    observer.disconnect();
    hidingStyle.remove();
  };
}

export default { render };
