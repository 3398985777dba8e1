// Draws the card that Python sends, and sends keys and clicks to Python, which has all the logic.

const RUBRIC = "5 perfect \u00b7 4 minor mistakes \u00b7 3 partly answered \u00b7 2 wrong \u00b7 1 no answer or made up";

function render({ model, el }) {
  let card = null;
  let commented = null; // the position of the answer that a comment is being typed for, even if another one is shown since
  // Python ignores what was meant for another answer than the one on the screen, as while the kernel is busy.
  const send = (message) => status.ask({ ...message, position: card.position });
  const root = element("div", {
    className: "vnb-label",
    tabIndex: 0,
    role: "group",
    "aria-label": "Score answers. Keys: 1 to 5 score, arrows move, U undoes, S skips, C comments, E enlarges the image",
    "data-lm-suppress-shortcuts": "true",
  });
  const progress = element("div", { className: "vnb-label-progress", role: "status" });
  const bar = element("progress", { className: "vnb-label-bar", "aria-label": "answers scored" });
  const image = element("img", { className: "vnb-label-image", alt: "" }); // the button has the name
  const dialog = imageDialog({ onEnlarge: () => status.send({ action: "enlarge", position: card.position }) });
  const enlarge = button({ className: "vnb-label-enlarge", title: "Enlarge (E)" }, () => {
    dialog.show(card, `${card.name}, ${card.width.toLocaleString("en")} \u00d7 ${card.height.toLocaleString("en")}`);
  });
  enlarge.append(image);
  const prompt = element("h4", { className: "vnb-label-prompt" });
  const answer = element("div", { className: "vnb-label-answer" });
  const modelName = element("div", { className: "vnb-label-model" });
  const aspects = element("div");
  const comment = element("input", {
    className: "vnb-label-comment",
    type: "text",
    placeholder: "comment (C)",
    "aria-label": "comment",
  });
  const message = element("div", { className: "vnb-label-message", role: "status", hidden: true });
  const error = element("div", { className: "vnb-label-error", role: "alert" });

  const sendButton = (properties, message) =>
    button(properties, () => {
      send(message);
      root.focus();
    });
  const undo = sendButton({ textContent: "Undo (U)", title: "undo the last score" }, { action: "undo" });
  const previous = sendButton({ textContent: "\u2190 Back", title: "previous answer" }, { action: "move", by: -1 });
  const next = sendButton(
    { textContent: "Skip (S) \u2192", title: "next answer, without a score" },
    { action: "move", by: 1 },
  );

  const drawAspect = (card, aspect) => {
    const selected = card.aspect === aspect;
    const textContent = (selected ? "\u25b8 " : "") + aspect;
    const name = sendButton({ className: "vnb-label-name", textContent }, { action: "select", aspect });
    const scores = [1, 2, 3, 4, 5].map((score) =>
      sendButton(
        {
          textContent: String(score),
          title: card.rubric[score],
          "aria-pressed": String(card.scores[aspect] === score),
          "aria-label": `${aspect} ${score}: ${card.rubric[score]}`,
        },
        { action: "score", aspect, value: score },
      ),
    );
    const className = "vnb-label-aspect" + (selected ? " vnb-active" : "");
    return element("div", { className, role: "group", "aria-label": aspect }, name, ...scores);
  };

  const draw = (received) => {
    if (received.position !== card?.position) dialog.node.close();
    card = received;
    status.answered();
    setLiveText(progress, `Answer ${card.position} of ${card.total}, ${card.labeled} scored`);
    bar.max = card.total;
    bar.value = card.labeled;
    enlarge.hidden = enlarge.disabled = !card.thumbnail;
    enlarge.setAttribute("aria-label", `Enlarge ${card.name}`);
    image.src = card.thumbnail;
    prompt.textContent = card.prompt;
    answer.innerHTML = card.answer; // sanitized in Python, by rendering/html_cleaner
    modelName.textContent = card.model;
    modelName.hidden = !card.model;
    aspects.replaceChildren(...Object.keys(card.scores).map((aspect) => drawAspect(card, aspect)));
    if (commented === null) comment.value = card.comment;
    undo.disabled = !card.can_undo;
    previous.disabled = card.position === 1;
    next.disabled = card.position === card.total;
    setLiveText(message, card.message);
    setLiveText(error, card.error ? "\u26a0 " + card.error : "");
  };

  const receive = (message) => {
    if (!message.enlarged) draw(message);
    else if (message.position === card.position) dialog.enlarge(message.enlarged);
  };

  comment.addEventListener("input", () => (commented ??= card.position));
  comment.addEventListener("blur", () => {
    if (commented !== null) status.ask({ action: "comment", text: comment.value, position: commented });
    commented = null;
  });
  comment.addEventListener("keydown", (event) => {
    event.stopPropagation();
    if (event.key === "Enter" || event.key === "Escape") root.focus();
  });
  root.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (!card) return;
    const other = Object.keys(card.scores).find((aspect) => aspect !== card.aspect);
    const messages = {
      ArrowLeft: { action: "move", by: -1 },
      ArrowRight: { action: "move", by: 1 },
      ArrowUp: { action: "select", aspect: other },
      ArrowDown: { action: "select", aspect: other },
      u: { action: "undo" },
      s: { action: "move", by: 1 },
    };
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (/^[1-5]$/.test(key)) send({ action: "score", value: Number(key) });
    else if (key === "c") comment.focus();
    else if (key === "e") enlarge.click();
    else if (messages[key]) send(messages[key]);
    else return;
    // Otherwise Jupyter uses these keys for the selected cell.
    event.preventDefault();
    event.stopPropagation();
  });

  const body = element(
    "div",
    {},
    element("div", { className: "vnb-label-top" }, progress, bar),
    element(
      "div",
      { className: "vnb-label-card" },
      enlarge,
      element("div", { className: "vnb-label-text" }, prompt, answer, modelName),
    ),
    aspects,
    element("div", { className: "vnb-label-foot" }, previous, undo, next, comment),
    message,
    error,
    element("div", { className: "vnb-label-hint", textContent: RUBRIC }),
  );
  const status = kernelStatus({ model, body, purpose: "score the answers", saved: "Scores are saved." });
  dialog.node.addEventListener("keydown", (event) => event.stopPropagation()); // the viewer's keys are not the panel's
  root.append(body, status.node, dialog.node);
  passOnSaveKeys(root);
  el.append(root);
  model.on("msg:custom", receive);
  status.send({ action: "ready" });
  return () => {
    status.end();
    dialog.end();
    model.off("msg:custom", receive);
  };
}

export default { render };
