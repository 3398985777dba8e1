// Draws the card that Python sends and tells Python which key or button was pressed; it decides nothing itself.

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

function render({ model, el }) {
  const send = (message) => model.send(message);
  const root = element("div", { className: "vnb-label", tabIndex: 0 });
  root.setAttribute("role", "group");
  root.setAttribute("aria-label", "Score answers: keys 1 to 5, arrows, U to undo, S to skip, C to comment");
  const progress = element("div", { className: "vnb-label-progress" });
  progress.setAttribute("role", "status");
  const bar = element("progress", { className: "vnb-label-bar" });
  bar.setAttribute("aria-label", "answers scored");
  const picture = element("img", { className: "vnb-label-picture" });
  const prompt = element("h4", { className: "vnb-label-prompt" });
  const answer = element("div", { className: "vnb-label-answer" });
  const source = element("div", { className: "vnb-label-model" });
  const aspects = element("div");
  const comment = element("input", { className: "vnb-label-comment", type: "text", placeholder: "comment (C)" });
  comment.setAttribute("aria-label", "comment");
  const problem = element("div", { className: "vnb-label-problem" });
  problem.setAttribute("role", "alert");

  const button = (text, title, message) => {
    const made = element("button", { type: "button", textContent: text, title });
    made.addEventListener("click", () => {
      send(message);
      root.focus();
    });
    return made;
  };
  const undo = button("Undo (U)", "take the last score back", { do: "undo" });
  const previous = button("\u2190 Back", "the answer before", { do: "turn", by: -1 });
  const next = button("Skip (S) \u2192", "the next answer, without a score", { do: "turn", by: 1 });

  const drawAspect = (card, aspect) => {
    const row = element("div", { className: "vnb-label-aspect" + (card.aspect === aspect ? " vnb-active" : "") });
    row.setAttribute("role", "group");
    row.setAttribute("aria-label", aspect);
    const name = element("button", { type: "button", className: "vnb-label-name" });
    name.textContent = (card.aspect === aspect ? "\u25b8 " : "") + aspect;
    name.addEventListener("click", () => send({ do: "aspect", aspect }));
    row.append(name);
    for (const score of [1, 2, 3, 4, 5]) {
      const chosen = card.scores[aspect] === score;
      const made = button(String(score), card.rubric[score], { do: "score", value: score });
      made.setAttribute("aria-pressed", String(chosen));
      made.setAttribute("aria-label", `${aspect} ${score}: ${card.rubric[score]}`);
      if (card.aspect !== aspect) {
        made.addEventListener("pointerdown", () => send({ do: "aspect", aspect }));
      }
      row.append(made);
    }
    return row;
  };

  let card = null;
  const draw = (sent) => {
    card = sent;
    root.style.display = "";
    progress.textContent = `Answer ${card.position} of ${card.total}, ${card.labelled} scored`;
    bar.max = card.total;
    bar.value = card.labelled;
    picture.hidden = !card.picture;
    picture.src = card.picture || "";
    picture.alt = "the picture that the question is about";
    prompt.textContent = card.prompt;
    answer.innerHTML = card.answer; // cleaned in Python, by safe_html
    source.textContent = card.model;
    source.hidden = !card.model;
    aspects.replaceChildren(...Object.keys(card.scores).map((aspect) => drawAspect(card, aspect)));
    if (document.activeElement !== comment) comment.value = card.comment;
    undo.disabled = !card.can_undo;
    previous.disabled = card.position === 1;
    next.disabled = card.position === card.total;
    problem.textContent = card.problem ? "\u26a0 " + card.problem : "";
  };

  comment.addEventListener("change", () => send({ do: "comment", text: comment.value }));
  comment.addEventListener("keydown", (event) => {
    event.stopPropagation();
    if (event.key === "Enter" || event.key === "Escape") root.focus();
  });
  root.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (!card) return;
    const other = Object.keys(card.scores).find((aspect) => aspect !== card.aspect);
    const messages = {
      ArrowLeft: { do: "turn", by: -1 },
      ArrowRight: { do: "turn", by: 1 },
      ArrowUp: { do: "aspect", aspect: other },
      ArrowDown: { do: "aspect", aspect: other },
      u: { do: "undo" },
      s: { do: "turn", by: 1 },
    };
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (/^[1-5]$/.test(key)) send({ do: "score", value: Number(key) });
    else if (key === "c") comment.focus();
    else if (messages[key]) send(messages[key]);
    else return;
    // Jupyter has keys of its own for a selected cell.
    event.preventDefault();
    event.stopPropagation();
  });

  const text = element("div", { className: "vnb-label-text" }, prompt, answer, source);
  root.append(
    element("div", { className: "vnb-label-top" }, progress, bar),
    element("div", { className: "vnb-label-card" }, picture, text),
    aspects,
    element("div", { className: "vnb-label-foot" }, previous, undo, next, comment),
    problem,
    element("div", { className: "vnb-label-hint", textContent: "5 perfect \u00b7 4 small faults \u00b7 3 in part \u00b7 2 wrong \u00b7 1 no answer or made up" }),
  );
  el.append(root);
  root.style.display = "none"; // until Python has sent the first card
  model.on("msg:custom", draw);
  root.setAttribute("data-lm-suppress-shortcuts", "true");
  send({ do: "hello" });
  return () => model.off("msg:custom", draw);
}

export default { render };
