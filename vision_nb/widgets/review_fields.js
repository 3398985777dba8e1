// The fields of a review form. Python defines them and reads the values that they send (see review_form.py).
//
// A field has: node, path, read(), focus(), isChanged(), setError(rest, text), clearErrors().

let fieldCount = 0; // for ids, which labels refer to

const PATTERNS = {
  date: /^\d{4}-\d\d-\d\d$/,
  datetime: /^(\d{4}-\d\d-\d\dT\d\d:\d\d(?::\d\d)?)(Z|[+-]\d\d:\d\d)?$/,
  time: /^(\d\d:\d\d(?::\d\d)?)(Z|[+-]\d\d:\d\d)?$/,
};
const NATIVE_TYPES = { date: "date", datetime: "datetime-local", time: "time" };

// Creates the input of a field: {node, target, read, isMultiline}, where `target` gets the label and the focus.
function makeInput(field, value, label, onChange) {
  if (field.control === "list") return listInput(field, value, label, onChange);
  if (field.control === "boolean") return choiceInput(field, value, [[true, "yes"], [false, "no"]], onChange);
  if (field.control === "choice") return choiceInput(field, value, field.choices.map((text, index) => [index, text]), onChange);
  if (field.control in PATTERNS && (value === null || PATTERNS[field.control].test(value))) {
    return timeInput(field, value, label, onChange);
  }
  if (field.control === "text" || field.control === "json") return textInput(field, value, label, onChange);
  return numberInput(field, value, onChange);
}

function numberInput(field, value, onChange) {
  const target = element("input", {
    type: "text", // the wheel would change a number input, which also hides values that it cannot read
    inputMode: { integer: "numeric", number: "decimal", decimal: "decimal" }[field.control] ?? "text",
    autocomplete: "off",
    spellcheck: false,
    value: value ?? "",
    placeholder: field.optional ? "no value" : "",
  });
  target.addEventListener("input", onChange);
  return { node: target, target, read: () => (target.value.trim() ? target.value.trim() : null) };
}

function choiceInput(field, value, choices, onChange) {
  const none = element("option", { value: "", textContent: field.optional ? "no value" : "choose\u2026" });
  const options = choices.map(([, text], index) => element("option", { value: String(index), textContent: text }));
  const target = element("select", {}, none, ...options);
  const selected = choices.findIndex(([choice]) => choice === value);
  target.value = selected < 0 ? "" : String(selected);
  target.addEventListener("change", onChange);
  return { node: target, target, read: () => (target.value === "" ? null : choices[Number(target.value)][0]) };
}

// A native input, and the time zone as text, which native inputs do not have.
function timeInput(field, value, label, onChange) {
  const [, time = "", zone = ""] = field.control === "date" ? [null, value ?? ""] : (value ?? "").match(PATTERNS[field.control]) ?? [];
  const target = element("input", { type: NATIVE_TYPES[field.control], value: time });
  if (field.control !== "date") target.step = 1;
  const zoneInput = element("input", {
    type: "text",
    className: "vnb-zone",
    value: zone,
    placeholder: "zone",
    title: "Time zone such as Z or +02:00; empty for none",
    "aria-label": `${label}: time zone such as Z or +02:00`,
    autocomplete: "off",
    hidden: field.control === "date",
  });
  for (const node of [target, zoneInput]) node.addEventListener("input", onChange);
  const read = () => {
    if (!target.value) return target.validity.badInput ? "" : null; // Python reports "" as not complete
    const hasNoSeconds = field.control !== "date" && /^(.*T)?\d\d:\d\d$/.test(target.value);
    return target.value + (hasNoSeconds ? ":00" : "") + zoneInput.value.trim();
  };
  return { node: element("span", { className: "vnb-field-time" }, target, zoneInput), target, read };
}

// A text area that grows. If null is allowed, an empty text is null unless the button marks it as empty text.
function textInput(field, value, label, onChange) {
  const isJson = field.control === "json";
  const target = element("textarea", { rows: 1, value: value ?? "", dir: "auto", spellcheck: false });
  if (isJson) target.className = "vnb-json";
  let isEmptyText = value === "";
  let wasChanged = false;
  const empty = button(
    { className: "vnb-empty", textContent: "empty text", title: "Save empty text instead of no value" },
    () => {
      isEmptyText = !isEmptyText;
      update();
      onChange();
    },
  );
  const grow = () => {
    if (!target.scrollHeight) return; // not on the page yet
    target.style.height = "auto";
    target.style.height = `${target.scrollHeight + target.offsetHeight - target.clientHeight}px`;
  };
  const canBeNull = field.optional || value === null; // a required text is null until somebody fills it in
  const isNull = () => !target.value && (isJson || (!isEmptyText && (field.optional || (canBeNull && !wasChanged))));
  const update = () => {
    empty.hidden = isJson || !canBeNull || target.value !== "";
    empty.setAttribute("aria-pressed", String(isEmptyText));
    empty.setAttribute("aria-label", `${label}: empty text instead of no value`);
    target.placeholder = isNull() ? (isJson ? "JSON" : field.optional ? "no value" : "") : "empty text";
    grow();
  };
  target.addEventListener("input", () => {
    wasChanged = true;
    if (target.value) isEmptyText = false;
    update();
    onChange();
  });
  update();
  return {
    node: element("span", { className: "vnb-field-text" }, target, empty),
    target,
    read: () => (isNull() ? null : target.value),
    isMultiline: () => isJson || target.value.includes("\n"),
    grow,
  };
}

// Rows that can be added, removed and moved.
function listInput(field, value, label, onChange) {
  const isPlain = field.items.length === 1 && field.items[0].path === "";
  const rows = [];
  let isNull = value === null && field.optional;
  const body = element("div", { className: "vnb-rows" });
  const node = element("div", { className: "vnb-field-list" }, body);

  const makeRow = (item) => {
    const row = {};
    const context = () => `${label} ${rows.indexOf(row) + 1}`;
    const fields = field.items.map((one) =>
      makeField(one, isPlain ? item : item?.[one.path] ?? null, { label: one.path || "value", onChange, context }),
    );
    const number = element("span", { className: "vnb-row-number" });
    const rowButton = (text, onClick) => button({ textContent: text, className: "vnb-row-button" }, onClick);
    const up = rowButton("\u2191", () => moveRow(row, -1));
    const down = rowButton("\u2193", () => moveRow(row, 1));
    const remove = rowButton("\u2715", () => removeRow(row));
    Object.assign(row, { fields, number, up, down, remove });
    row.node = element(
      "div",
      { className: "vnb-row", role: "group" },
      number,
      element("div", { className: "vnb-row-fields" }, ...fields.map((one) => one.node)),
      element("span", { className: "vnb-row-buttons" }, up, down, remove),
    );
    row.node.vnbAddBelow = () => addRow(rows.indexOf(row) + 1); // Enter in a row
    return row;
  };
  const draw = () => {
    body.replaceChildren(...rows.map((row) => row.node));
    rows.forEach((row, index) => {
      const name = `${label} ${index + 1}`;
      row.number.textContent = String(index + 1);
      row.node.setAttribute("aria-label", name);
      row.up.disabled = index === 0;
      row.down.disabled = index === rows.length - 1;
      for (const [node, what] of [[row.up, "Move up"], [row.down, "Move down"], [row.remove, "Remove"]]) {
        node.setAttribute("aria-label", `${what}: ${name}`);
        node.title = `${what}: ${name}`;
      }
      row.fields.forEach((one) => one.rename());
    });
    note.textContent = rows.length ? "" : isNull ? "no value" : "empty list";
    empty.hidden = !field.optional || rows.length > 0;
    empty.setAttribute("aria-pressed", String(!isNull));
  };
  const changed = () => {
    draw();
    onChange();
  };
  const addRow = (index) => {
    isNull = false;
    rows.splice(index, 0, makeRow(null));
    changed();
    rows[index].fields[0].focus();
  };
  const removeRow = (row) => {
    const index = rows.indexOf(row);
    rows.splice(index, 1);
    if (!rows.length && field.optional) isNull = true;
    changed();
    (rows[Math.min(index, rows.length - 1)]?.remove ?? add).focus();
  };
  const moveRow = (row, by) => {
    const index = rows.indexOf(row);
    const focused = document.activeElement;
    rows.splice(index, 1);
    rows.splice(index + by, 0, row);
    changed();
    (focused.disabled ? row.remove : focused).focus(); // moving a node takes its focus
  };
  const add = button({ textContent: "Add row", "aria-label": `Add row: ${label}` }, () => addRow(rows.length));
  const note = element("span", { className: "vnb-field-note" });
  const empty = button(
    { className: "vnb-empty", textContent: "empty list", title: "Save an empty list instead of no value" },
    () => {
      isNull = !isNull;
      changed();
    },
  );
  empty.setAttribute("aria-label", `${label}: empty list instead of no value`);
  rows.push(...(value ?? []).map(makeRow));
  node.append(element("div", { className: "vnb-field-list-foot" }, add, note, empty));
  draw();
  return {
    node,
    target: node,
    focus: () => (rows[0]?.fields[0] ?? add).focus(),
    read: () =>
      isNull && !rows.length
        ? null
        : rows.map(({ fields }) => (isPlain ? fields[0].read() : Object.fromEntries(fields.map((one) => [one.path, one.read()])))),
    rows,
    isMultiline: () => true,
    grow: () => rows.forEach(({ fields }) => fields.forEach((one) => one.grow())),
  };
}

// Creates a field with its label, description and place for errors. `context` names the row that it is in.
function makeField(field, value, { label, onChange, context = null, isChanged = false }) {
  const id = `vnb-field-${(fieldCount += 1)}`;
  let changed = isChanged;
  const noteChange = () => {
    changed = true;
    onChange();
  };
  const input = makeInput(field, value, label, noteChange);
  const isGroup = field.control === "list";
  const caption = element(isGroup ? "div" : "label", { id: `${id}-label`, className: "vnb-field-label" }, element("bdi", { textContent: label }));
  if (field.optional) caption.append(element("span", { className: "vnb-optional", textContent: " optional" }));
  const description = element("div", { id: `${id}-description`, className: "vnb-description", textContent: field.description, hidden: !field.description });
  const error = element("div", { id: `${id}-error`, className: "vnb-field-error", hidden: true });
  const others = element("div", { className: "vnb-others", hidden: true });
  if (isGroup) {
    input.target.setAttribute("role", "group");
    input.target.setAttribute("aria-labelledby", `${id}-label`);
  } else {
    input.target.id = id;
    caption.htmlFor = id;
  }
  input.target.setAttribute("aria-describedby", `${id}-error${field.description ? ` ${id}-description` : ""}`);
  const node = element("div", { className: "vnb-field" }, caption, input.node, others, error, description);
  node.dataset.path = field.path;
  const showError = (text) => {
    error.textContent = text ? `\u26a0 ${label} ${text}` : "";
    error.hidden = !text;
    if (!isGroup) input.target.setAttribute("aria-invalid", String(Boolean(text)));
  };
  return {
    node,
    path: field.path,
    others,
    input,
    focus: () => (input.focus ? input.focus() : input.target.focus()),
    grow: () => input.grow?.(),
    isChanged: () => changed,
    read: () => (changed ? input.read() : value),
    rename: () => {
      if (!isGroup && context) input.target.setAttribute("aria-label", `${context()} ${label}`);
    },
    clearErrors: () => {
      showError("");
      input.rows?.forEach((row) => row.fields.forEach((one) => one.clearErrors()));
    },
    // Shows an error here, or in the row that the rest of its path names.
    setError: (rest, text) => {
      const [, index, inner] = rest.match(/^\[(\d+)\]\.?(.*)$/s) ?? [];
      const row = index === undefined ? undefined : input.rows?.[Number(index)];
      if (!row || !placeError(row.fields, inner, text)) showError(rest && index === undefined ? `${rest}: ${text}` : text);
    },
  };
}

// Shows an error at the field that its path belongs to, and returns whether there is one.
function placeError(fields, path, text) {
  const begins = (long, short) => long === short || long.startsWith(`${short}.`) || long.startsWith(`${short}[`);
  const found = fields.find((one) => one.path === "" || begins(path, one.path));
  if (found) found.setError(path.slice(found.path.length), text);
  else fields.find((one) => path && begins(one.path, path))?.setError("", text); // an error of the object around it
  return Boolean(found) || fields.some((one) => path && begins(one.path, path));
}
