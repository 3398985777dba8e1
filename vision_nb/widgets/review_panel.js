// Draws the card that Python sends: an image beside a form. Python checks and saves the data.

const EDIT_DELAY = 400; // milliseconds from the last key to the message that keeps the change
const REVIEW_HINT =
  "Enter accepts \u00b7 Ctrl+Enter accepts in lists and multi-line text, where Enter adds a row or line \u00b7 " +
  "Shift+Enter adds a line \u00b7 Alt+\u2190 and Alt+\u2192 move without accepting \u00b7 Ctrl+Z undoes \u00b7 Esc restores the model's data";

function render({ model, el }) {
  const isMac = navigator.platform.startsWith("Mac");
  let card = null;
  let fields = []; // see review_fields.js
  let editTimer = null;
  let isUnsaved = false; // whether the form has changes that Python has not confirmed
  let typed = ""; // text typed since a request, for the field that has the focus after Python's answer

  const values = () => Object.fromEntries(fields.map((field) => [field.path, field.read()]));
  const isChanged = () => fields.some((field) => field.isChanged());
  // Sends a message about the displayed card. Until Python answers, keys do nothing, so that data cannot be accepted before it is displayed.
  const request = (action, details = {}) => {
    if (!card || status.isWaiting()) return;
    clearEditTimer();
    status.ask({ action, row: card.row, values: isChanged() || action === "accept" ? values() : null, ...details });
  };
  const clearEditTimer = () => {
    clearTimeout(editTimer);
    editTimer = null;
  };
  const sendEdit = () => {
    clearEditTimer();
    status.send({ action: "edit", row: card.row, values: values() });
  };
  const edited = () => {
    isUnsaved = true;
    drawOthers();
    clearTimeout(editTimer);
    editTimer = setTimeout(sendEdit, EDIT_DELAY);
  };

  const progress = element("div", { className: "vnb-review-progress", role: "status" });
  const bar = element("progress", { className: "vnb-review-bar", "aria-label": "Images reviewed" });
  const picker = (label, choices) => {
    const select = element("select", {}, ...choices.map(([value, textContent]) => element("option", { value, textContent })));
    select.addEventListener("change", () => request("view", { order: order.select.value, show: show.select.value }));
    return { select, node: element("label", { className: "vnb-review-picker" }, `${label} `, select) };
  };
  const order = picker("Order", [["doubt", "by doubt"], ["given", "as given"]]);
  const show = picker("Show", [["unreviewed", "not reviewed"], ["all", "all images"]]);
  const title = element("h4", { className: "vnb-review-title" });
  const state = element("div", { className: "vnb-review-state", role: "status" });
  const notes = element("ul", { className: "vnb-review-notes", "aria-label": "Why this image needs a check" });
  const form = element("div", { className: "vnb-review-form", role: "group", "aria-label": "Data of the image" });
  const error = element("div", { className: "vnb-review-error", role: "alert", hidden: true });
  const message = element("div", { className: "vnb-review-message", role: "status", hidden: true });
  const hint = element("div", { className: "vnb-review-hint", textContent: REVIEW_HINT });
  const viewer = imageViewer({
    onEnlarge: () => status.send({ action: "enlarge", row: card.row }),
    isActive: () => root.contains(document.activeElement),
  });
  const requestButton = (textContent, tip, action, details) =>
    button({ textContent, title: tip, "aria-label": `${textContent}: ${tip}` }, () => request(action, details));
  const previous = requestButton("\u2190 Back", "previous image (Alt+Left)", "move", { by: -1 });
  const accept = requestButton("Accept", "accept the data and go to the next image (Enter)", "accept");
  const next = requestButton("Skip \u2192", "next image, without accepting (Alt+Right)", "move", { by: 1 });
  const undo = requestButton("Undo", "undo the last step (Ctrl+Z)", "undo");
  const restore = requestButton("Restore", "restore the model's data (Esc)", "restore");
  accept.classList.add("vnb-primary");
  const body = element(
    "div",
    { className: "vnb-review-body" },
    element(
      "div",
      { className: "vnb-review-top" },
      progress,
      bar,
      order.node,
      show.node,
    ),
    element(
      "div",
      { className: "vnb-review-card" },
      viewer.node,
      element(
        "div",
        { className: "vnb-review-data" },
        title,
        state,
        notes,
        form,
        element("div", { className: "vnb-review-foot" }, previous, accept, next, undo, restore),
        error,
        message,
      ),
    ),
    hint,
  );
  const status = kernelStatus({ model, body, purpose: "review the images", saved: "Accepted data is saved." });
  const root = element(
    "div",
    { className: "vnb-review", role: "group", "aria-label": "Review data", "data-lm-suppress-shortcuts": "true" },
    body,
    status.node,
  );

  const fieldOf = (node) => fields.find((field) => field.node.contains(node));
  const inputOf = (node) => {
    const path = [...fields];
    for (const field of path) {
      if (field.input.target === node) return field.input;
      field.input.rows?.forEach((row) => path.push(...row.fields));
    }
    return null;
  };
  const makeFormField = (field, value, isFieldChanged) =>
    makeField(field, value, { label: field.path.split(".").at(-1), onChange: edited, isChanged: isFieldChanged });

  // Nested objects become groups, named by their path.
  const drawForm = () => {
    fields = card.fields.map((field) => makeFormField(field, card.values[field.path] ?? null, false));
    const nodes = [];
    let groupName = "";
    for (const field of fields) {
      const name = field.path.split(".").slice(0, -1).join(".");
      if (name && name !== groupName) nodes.push(element("fieldset", {}, element("legend", {}, element("bdi", { textContent: name }))));
      if (name) nodes.at(-1).append(field.node);
      else nodes.push(field.node);
      groupName = name;
    }
    form.replaceChildren(...nodes);
    form.scrollTop = 0;
    fields.forEach((field) => field.grow());
    drawOthers();
  };
  const take = (path, value) => {
    const index = fields.findIndex((field) => field.path === path);
    const replacement = makeFormField(card.fields[index], value, true);
    fields[index].node.replaceWith(replacement.node);
    fields[index] = replacement;
    replacement.grow();
    replacement.focus();
    edited();
  };
  // Not `card.others[field.path]`: a field can have the name of a property of every object, such as "constructor".
  const othersOf = (field) => (Object.hasOwn(card.others, field.path) ? card.others[field.path] : []);
  // The answers of several models, where they differ. A button takes one.
  const drawOthers = () => {
    for (const field of fields) {
      const answers = othersOf(field);
      const current = JSON.stringify(field.read());
      if (field.others.childElementCount !== answers.length) {
        field.others.replaceChildren(
          ...answers.map(({ value }, index) =>
            button(
              { className: "vnb-other", title: index < 9 ? `Take this value (Alt+${index + 1})` : "Take this value" },
              () => take(field.path, value),
            ),
          ),
        );
        answers.forEach(({ models, text }, index) =>
          field.others.children[index].append(
            element("bdi", { className: "vnb-other-models", textContent: models.join(", ") }),
            element("bdi", { textContent: text }),
          ),
        );
        field.others.hidden = !answers.length;
      }
      answers.forEach(({ value }, index) =>
        field.others.children[index].setAttribute("aria-pressed", String(JSON.stringify(value) === current)),
      );
    }
  };
  const drawErrors = (errors, isFinal) => {
    let unplaced = "";
    fields.forEach((field) => field.clearErrors());
    for (const [path, text] of Object.entries(errors)) {
      const field = fields.find((one) => path === one.path || path.startsWith(`${one.path}.`) || path.startsWith(`${one.path}[`));
      if (!isFinal && !field?.isChanged()) continue;
      if (!placeError(fields, path, text)) unplaced ||= path ? `${path} ${text}` : text;
    }
    const count = Object.keys(errors).length;
    const summary = isFinal && count ? `Not accepted: ${count === 1 ? "1 error" : `${count} errors`}.` : "";
    const text = [summary, unplaced].filter(Boolean).join(" ");
    setLiveText(error, text ? `\u26a0 ${text}` : "");
    if (isFinal) form.querySelector("[aria-invalid=true]")?.focus();
  };
  const drawCard = (received) => {
    const isOther = card?.row !== received.row;
    // A card that the page did not ask for, because code or another view changed something.
    const isFormKept = isUnsaved && !isOther && !status.isWaiting();
    const focused = root.contains(document.activeElement) ? document.activeElement : null;
    const focusedField = focused && fieldOf(focused);
    if (isOther && editTimer !== null) sendEdit(); // typed just before code or another view showed another image
    card = received;
    status.answered();
    setLiveText(progress, `${card.reviewed.toLocaleString("en")} of ${card.total.toLocaleString("en")} reviewed`);
    bar.max = card.total;
    bar.value = card.reviewed;
    order.select.value = card.order;
    show.select.value = card.show;
    title.replaceChildren(
      `Image ${card.position.toLocaleString("en")} of ${card.listed.toLocaleString("en")}: `,
      element("bdi", { textContent: card.name }),
    );
    setLiveText(state, card.source ? `${card.state} \u00b7 answer of ${card.source}` : card.state);
    state.classList.toggle("vnb-reviewed", card.is_reviewed);
    notes.replaceChildren(...card.notes.map((textContent) => element("li", { textContent })));
    notes.hidden = !card.notes.length;
    if (isOther) viewer.show(card.image, card.name, card.can_enlarge);
    if (!isFormKept) {
      clearEditTimer();
      isUnsaved = false;
      drawForm();
      drawErrors({}, false);
    }
    const take = Object.keys(card.others).length ? " \u00b7 Alt+1, Alt+2 \u2026 take a model's value" : "";
    const left = card.unreadable ? ` \u00b7 Not shown because they cannot be read: ${card.unreadable}` : "";
    hint.textContent = REVIEW_HINT + take + left;
    setLiveText(message, card.message);
    previous.disabled = card.position === 1;
    next.disabled = card.position === card.listed;
    undo.disabled = !card.can_undo;
    if (!focused || focused === viewer.frame || (isFormKept && focusedField)) return;
    if (focusedField && !isOther) fields.find((field) => field.path === focusedField.path)?.focus();
    else if (focusedField || focused.disabled || !root.contains(document.activeElement)) focusForm();
  };
  // The first field to look at: one that the models disagree about, otherwise the first.
  const focusForm = () => (fields.find((field) => !field.others.hidden) ?? fields[0])?.focus();
  const receive = (received) => {
    if (body.classList.contains("vnb-kernel-busy")) typed = ""; // the panel has said that it waits
    if (received.kind === "card") drawCard(received);
    else if (received.row !== card?.row) return;
    else if (received.kind === "enlarged") viewer.enlarge(received.image);
    else if (received.kind === "errors") {
      if (received.is_final) status.answered();
      else if (editTimer === null) isUnsaved = false;
      setLiveText(state, received.state);
      drawErrors(received.errors, received.is_final);
    }
    if (status.isWaiting()) return;
    if (typed && form.contains(document.activeElement)) document.execCommand("insertText", false, typed);
    typed = "";
  };

  let valueAtFocus = null;
  root.addEventListener("focusin", (event) => {
    valueAtFocus = event.target.value ?? null;
  });
  const isTyping = (target) => target.matches("input, textarea") && target.value !== valueAtFocus;
  root.addEventListener("keydown", (event) => {
    event.stopPropagation(); // otherwise Jupyter uses the keys for the selected cell
    if (event.isComposing || !card) return;
    const { target, key } = event;
    const isControl = event.ctrlKey || event.metaKey;
    const isText = target.matches("input, textarea");
    let action = null;
    if (key === "Enter" && isControl) action = () => request("accept");
    else if (key === "Enter" && !event.shiftKey && !event.altKey && !target.matches("button")) {
      const row = target.closest(".vnb-row");
      if (row && !inputOf(target)?.isMultiline?.()) action = () => row.vnbAddBelow();
      else if (!row && !target.closest(".vnb-field-list") && !inputOf(target)?.isMultiline?.()) action = () => request("accept");
    } else if (key === "Escape") action = () => request("restore");
    else if (key.toLowerCase() === "z" && isControl && !event.shiftKey && !isTyping(target)) action = () => request("undo");
    else if (key === "PageUp" || key === "PageDown") action = () => request("move", { by: key === "PageUp" ? -1 : 1 });
    else if ((key === "ArrowLeft" || key === "ArrowRight") && event.altKey && !(isMac && isText)) {
      action = () => request("move", { by: key === "ArrowLeft" ? -1 : 1 });
    } else if (event.altKey && /^Digit[1-9]$/.test(event.code)) {
      const field = fieldOf(target);
      const other = field && othersOf(field)[Number(event.code.slice(-1)) - 1];
      if (other) action = () => take(field.path, other.value);
    }
    if (!action) return;
    event.preventDefault();
    action();
  });
  // Python's next card replaces the form, so the form refuses changes until then, and keeps typed text for the next card.
  const refuseWhileWaiting = (event) => {
    const { type, key, target } = event;
    if (!status.isWaiting() || key === "Tab") return;
    event.preventDefault();
    event.stopPropagation();
    if (type !== "keydown" || !target.matches("input, textarea") || event.ctrlKey || event.metaKey || event.altKey) return;
    if (key === "Backspace") typed = typed.slice(0, -1);
    else if (key.length === 1) typed += key;
  };
  for (const type of ["keydown", "beforeinput", "mousedown", "click"]) form.addEventListener(type, refuseWhileWaiting, true);

  passOnSaveKeys(root);
  el.append(root);
  model.on("msg:custom", receive);
  status.send({ action: "ready" });
  return () => {
    status.end();
    clearTimeout(editTimer);
    viewer.close();
    model.off("msg:custom", receive);
  };
}

export default { render };
