// Takes text and pictures and hands them to Python; what is attached and what is wrong, Python says.

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

const PATIENCE = 500; // milliseconds after which a kernel that does not answer is called busy
const PING = 2000; // milliseconds between two looks whether a kernel that should be answering is there

function render({ model, el }) {
  const limits = model.get("limits");
  const view = Math.random().toString(36).slice(2);
  const open = new Map(); // what Python has not confirmed yet
  let count = 0;
  let uploading = 0;
  let recalled = null;
  let back = 0;
  let lost = false;

  const chips = element("ul", { className: "vnb-chips" });
  chips.setAttribute("aria-label", "Attached pictures");
  const text = element("textarea", { rows: 2, placeholder: "Ask about a picture\u2026" });
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
    model.set("problem", line);
    model.save_changes();
  };
  const drawWaiting = () => {
    const late = [...open.values()].some(({ since }) => Date.now() - since >= PATIENCE);
    const line = late && !lost ? "Waiting for the kernel: another cell is running." : uploading ? "A picture is on its way\u2026" : "";
    if (waiting.textContent !== line) waiting.textContent = line;
    waiting.hidden = !line;
  };
  // Sends a message that Python confirms; as long as it does not, the kernel is busy.
  const ask = (message, buffers) =>
    new Promise((resolve) => {
      const ticket = `${view}-${(count += 1)}`;
      open.set(ticket, { resolve, since: Date.now() });
      model.send({ ...message, ticket }, undefined, buffers);
      setTimeout(drawWaiting, PATIENCE + 20);
    });

  const upload = async (file, name) => {
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
      model.send({ do: "abandon", key });
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
    if (model.get("state") === "answering") {
      complain("The model is still answering: wait for it, or stop it with Esc.");
      return;
    }
    if (uploading) {
      complain("A picture is still on its way: send again in a moment.");
      return;
    }
    const { refused } = await ask({ do: "send", text: written });
    if (!refused && text.value === written) {
      text.value = "";
      back = 0;
      recalled = null;
    }
  };
  const recall = (step) => {
    if (text.value && text.value !== recalled) return false;
    model.send({ do: "recall", back: Math.max(0, back + step), view });
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
    level.addEventListener("change", () => model.send({ do: "detail", place, detail: level.value }));
    const remove = element("button", { type: "button", textContent: "\u2715", title: `remove ${name}` });
    remove.setAttribute("aria-label", `Remove ${name}`);
    remove.addEventListener("click", () => {
      model.send({ do: "remove", place });
      text.focus();
    });
    const picture = thumbnail ? element("img", { src: thumbnail, alt: "" }) : element("span", { className: "vnb-blank" });
    return element("li", {}, picture, element("span", { className: "vnb-name", textContent: name, title: name }), level, remove);
  };

  const draw = () => {
    const state = lost ? "closed" : model.get("state");
    chips.replaceChildren(...model.get("attachments").map(chip));
    chips.hidden = !model.get("attachments").length;
    const names = model.get("models");
    models.replaceChildren(...names.map((name) => element("option", { value: name, textContent: name })));
    models.value = model.get("model");
    for (const control of [text, attach, models, send]) control.disabled = state === "closed";
    models.disabled = state !== "ready";
    stop.hidden = state !== "answering";
    send.hidden = state === "answering";
    note.textContent = model.get("note");
    note.hidden = !note.textContent;
    const wrong = lost ? "The kernel was restarted or stopped: run this cell again to go on. What was said stays below." : model.get("problem");
    problem.textContent = wrong ? `\u26a0 ${wrong}` : "";
    problem.hidden = !wrong;
    drawWaiting();
  };
  const receive = (message) => {
    if (message.done) {
      open.get(message.done)?.resolve(message);
      open.delete(message.done);
      drawWaiting();
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
      if (model.get("state") === "answering") model.send({ do: "stop" });
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
  stop.addEventListener("click", () => model.send({ do: "stop" }));
  models.addEventListener("change", async () => {
    const { refused } = await ask({ do: "model", name: models.value });
    if (refused) draw();
  });

  const liveness = () =>
    setTimeout(() => {
      lost = Boolean(el.closest(".jupyter-widgets-disconnected"));
      draw();
    }, 0);
  const pings = setInterval(() => {
    if (model.get("state") === "answering" && !open.size && !lost) ask({ do: "ping" });
  }, PING);
  const traits = ["models", "model", "attachments", "state", "note", "problem"];
  traits.forEach((name) => model.on(`change:${name}`, draw));
  model.on("msg:custom", receive);
  model.on("comm_live_update", liveness);
  el.append(root);
  draw();
  model.send({ do: "hello" });
  return () => {
    clearInterval(pings);
    traits.forEach((name) => model.off(`change:${name}`, draw));
    model.off("msg:custom", receive);
    model.off("comm_live_update", liveness);
  };
}

export default { render };
