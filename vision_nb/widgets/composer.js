// Takes text and pictures and hands them to Python; what is attached and what is wrong, Python says.

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

const PATIENCE = 500; // milliseconds after which a kernel that does not answer is called busy
const PING = 2000; // milliseconds between two looks whether the kernel is there, and answering where it should

// A live region that is written anew is read out anew.
function put(node, line) {
  if (node.textContent !== line) node.textContent = line;
  node.hidden = !line;
}

function render({ model, el }) {
  const limits = model.get("limits");
  const view = Math.random().toString(36).slice(2);
  const open = new Map(); // what Python has not confirmed yet
  let count = 0;
  let uploading = 0;
  let recalled = null;
  let back = 0;
  let lost = false;
  let greeted = false; // whether Python has answered: a view made of saved state alone has no panel behind it
  let sending = false;
  let attachments = [];
  let own = ""; // what this page has to complain about

  const chips = element("ul", { className: "vnb-chips" });
  chips.setAttribute("aria-label", "Attached pictures");
  const text = element("textarea", { rows: 2, dir: "auto", placeholder: "Ask about a picture\u2026" });
  text.setAttribute("aria-label", "Your question. Enter sends, Shift+Enter starts a new line, arrow up recalls, Escape stops");
  const picker = element("input", { type: "file", accept: "image/*", multiple: true, hidden: true });
  const attach = element("button", { type: "button", textContent: "Attach pictures" });
  const models = element("select", { title: "the model that answers" });
  const modelLabel = element("label", { className: "vnb-models" }, "Model ", models);
  const hint = element("span", { className: "vnb-hint", textContent: "Enter sends \u00b7 paste or drop pictures" });
  const send = element("button", { type: "button", textContent: "Send", className: "vnb-main" });
  const stop = element("button", { type: "button", textContent: "Stop", className: "vnb-main" });
  const note = element("div", { className: "vnb-note" });
  note.setAttribute("role", "status");
  const waiting = element("div", { className: "vnb-waiting" });
  waiting.setAttribute("role", "status");
  const problem = element("div", { className: "vnb-problem" });
  problem.setAttribute("role", "alert");
  const bar = element("div", { className: "vnb-bar" }, attach, picker, modelLabel, hint, send, stop);
  const root = element("div", { className: "vnb-composer" }, chips, text, bar, note, waiting, problem);
  root.setAttribute("role", "group");
  root.setAttribute("aria-label", "Write a question");
  root.setAttribute("data-lm-suppress-shortcuts", "true");

  const complain = (line) => {
    own = line;
    draw();
  };
  // A kernel that was shut down takes no message.
  const post = (message, buffers) => {
    try {
      model.send(message, undefined, buffers);
    } catch {
      lost = true;
      draw();
    }
  };
  const drawWaiting = () => {
    const late = [...open.values()].some(({ since }) => Date.now() - since >= PATIENCE);
    let line = uploading ? "A picture is on its way\u2026" : "";
    if (late && !lost) {
      line = greeted
        ? "Waiting for the kernel: another cell is running."
        : "Waiting for the kernel. If it was started anew, run this cell again to go on.";
    }
    put(waiting, line);
  };
  // Sends a message that Python confirms; as long as it does not, the kernel is busy.
  const ask = (message, buffers) =>
    new Promise((resolve) => {
      const ticket = `${view}-${(count += 1)}`;
      open.set(ticket, { resolve, since: Date.now() });
      if (message.do !== "ping") own = "";
      post({ ...message, ticket }, buffers);
      setTimeout(drawWaiting, PATIENCE + 20);
    });

  const upload = async (file, name) => {
    if (lost || !greeted) return;
    if (file.size > limits.file) {
      complain(`${name} is larger than ${limits.file / 1e6} MB: make it smaller first.`);
      return;
    }
    const key = `${view}-${(count += 1)}`;
    uploading += 1;
    draw();
    try {
      let at = 0;
      do {
        const piece = await file.slice(at, at + limits.piece).arrayBuffer();
        at += limits.piece;
        const { refused } = await ask({ do: "upload", key, name, last: at >= file.size }, [piece]);
        if (refused) break;
      } while (at < file.size);
    } catch {
      post({ do: "abandon", key });
      complain(`${name} could not be read to its end: attach it again.`);
    } finally {
      uploading -= 1;
      draw();
    }
  };
  const uploadAll = async (files, nameOf = (file) => file.name) => {
    for (const file of files) await upload(file, nameOf(file) || "picture");
  };

  const submit = async () => {
    const written = text.value;
    if (sending) return;
    if (model.get("state") === "answering") {
      complain("The model is still answering: wait for it, or stop it with Esc.");
      return;
    }
    if (uploading) {
      complain("A picture is still on its way: send again in a moment.");
      return;
    }
    sending = true;
    text.focus(); // the button that was pressed goes away
    try {
      const { refused } = await ask({ do: "send", text: written });
      if (!refused && text.value === written) {
        text.value = "";
        back = 0;
        recalled = null;
      }
    } finally {
      sending = false;
    }
  };
  const recall = (step) => {
    if (text.value && text.value !== recalled) return false;
    post({ do: "recall", back: Math.max(0, back + step), view });
    return true;
  };

  const chip = ({ name, thumbnail, detail }, place) => {
    const level = element("select", { title: `detail level of ${name}` });
    level.setAttribute("aria-label", `Detail of ${name}`);
    level.append(
      ...["", ...limits.details].map((value) =>
        element("option", { value, textContent: value ? `detail ${value}` : "detail as the model's", selected: value === detail }),
      ),
    );
    level.addEventListener("change", () => post({ do: "detail", place, detail: level.value }));
    const remove = element("button", { type: "button", textContent: "\u2715", title: `remove ${name}` });
    remove.setAttribute("aria-label", `Remove ${name}`);
    remove.addEventListener("click", () => {
      post({ do: "remove", place });
      text.focus();
    });
    const picture = thumbnail ? element("img", { src: thumbnail, alt: "" }) : element("span", { className: "vnb-blank" });
    return element("li", {}, picture, element("bdi", { className: "vnb-name", textContent: name, title: name }), level, remove);
  };

  // Each is drawn when it has changed alone, so that what has the keyboard's focus keeps it.
  const drawChips = () => {
    const place = [...chips.querySelectorAll("select, button")].indexOf(document.activeElement);
    chips.replaceChildren(...attachments.map(chip));
    chips.hidden = !attachments.length;
    if (place >= 0) ([...chips.querySelectorAll("select, button")][place] ?? text).focus();
  };
  const drawModels = () => {
    models.replaceChildren(...model.get("models").map((name) => element("option", { value: name, textContent: name })));
    models.value = model.get("model");
  };
  const draw = () => {
    const state = lost || !greeted ? "closed" : model.get("state");
    models.value = model.get("model");
    const focused = document.activeElement;
    for (const control of [text, attach, models, send]) control.disabled = state === "closed";
    models.disabled = state !== "ready";
    stop.hidden = state !== "answering";
    send.hidden = state === "answering";
    if ([send, stop].includes(focused) && focused.hidden) text.focus();
    put(note, model.get("note"));
    const wrong = lost ? "The kernel was restarted or stopped: run this cell again to go on. What was said stays below." : own || model.get("problem");
    put(problem, wrong ? `\u26a0 ${wrong}` : "");
    drawWaiting();
  };
  const receive = (message) => {
    if (message.done) {
      const waitsHere = open.get(message.done);
      open.delete(message.done);
      waitsHere?.resolve(message);
      draw();
    } else if (message.attachments) {
      attachments = message.attachments;
      drawChips();
    } else if (message.recall !== undefined && message.view === view) {
      back = message.back;
      text.value = recalled = message.recall;
    }
  };

  text.addEventListener("keydown", (event) => {
    event.stopPropagation(); // the notebook has keys of its own
    if (event.isComposing) return;
    if (event.key === "Enter" && !event.shiftKey && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      submit();
    } else if (event.key === "Escape") {
      if (model.get("state") === "answering") post({ do: "stop" });
    } else if (event.key === "ArrowUp" || event.key === "ArrowDown") {
      if (recall(event.key === "ArrowUp" ? 1 : -1)) event.preventDefault();
    }
  });
  text.addEventListener("paste", (event) => {
    const files = [...event.clipboardData.files];
    event.stopPropagation();
    if (!files.length || event.clipboardData.getData("text/plain")) return;
    event.preventDefault();
    uploadAll(files, (file) => (file.name === "image.png" ? "pasted picture" : file.name));
  });
  root.addEventListener("dragover", (event) => {
    if (![...event.dataTransfer.types].includes("Files")) return;
    event.preventDefault();
    event.stopPropagation();
    root.classList.add("vnb-over");
  });
  root.addEventListener("dragleave", () => root.classList.remove("vnb-over"));
  root.addEventListener("drop", (event) => {
    root.classList.remove("vnb-over");
    if (!event.dataTransfer.files.length) return;
    event.preventDefault();
    event.stopPropagation();
    uploadAll([...event.dataTransfer.files]);
  });
  attach.addEventListener("click", () => picker.click());
  picker.addEventListener("change", async () => {
    const files = [...picker.files];
    picker.value = "";
    await uploadAll(files);
    text.focus();
  });
  send.addEventListener("click", submit);
  stop.addEventListener("click", () => {
    post({ do: "stop" });
    text.focus();
  });
  models.addEventListener("change", async () => {
    const { refused } = await ask({ do: "model", name: models.value });
    if (refused) draw();
  });

  // A restart is marked on the page; a kernel that was shut down is one that the manager has no more.
  const look = () => {
    const gone = Boolean(el.closest(".jupyter-widgets-disconnected")) || model.widget_manager?.kernel === null;
    if (gone === lost) return;
    lost = gone;
    draw();
  };
  const liveness = () => setTimeout(look, 0);
  const pings = setInterval(() => {
    look();
    if (model.get("state") === "answering" && !open.size && !lost) ask({ do: "ping" });
  }, PING);
  const changed = () => {
    own = "";
    draw();
  };
  const listeners = { models: drawModels, model: draw, state: changed, note: draw, problem: changed };
  Object.entries(listeners).forEach(([name, listener]) => model.on(`change:${name}`, listener));
  model.on("msg:custom", receive);
  model.on("comm_live_update", liveness);
  el.append(root);
  drawModels();
  drawChips();
  draw();
  ask({ do: "hello" }).then(() => {
    greeted = true;
    draw();
  });
  liveness();
  return () => {
    clearInterval(pings);
    Object.entries(listeners).forEach(([name, listener]) => model.off(`change:${name}`, listener));
    model.off("msg:custom", receive);
    model.off("comm_live_update", liveness);
  };
}

export default { render };
