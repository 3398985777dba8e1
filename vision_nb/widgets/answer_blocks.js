// Draws an answer's HTML, which Python has sanitized, and adds what an answer itself cannot contain: the head of a code
// block with its language and a Copy button, and elements that the keyboard can scroll.

const COPIED_TIME = 2000; // milliseconds
const COPIED = "Copied.";
const NOT_COPIED = "Not copied: select the text."; // the browser refused

// Copies a text, and returns what happened.
async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return COPIED;
  } catch {
    const focused = document.activeElement;
    const area = element("textarea", { value: text });
    document.body.append(area);
    area.select();
    const isCopied = document.execCommand("copy");
    area.remove();
    focused?.focus({ preventScroll: true });
    return isCopied ? COPIED : NOT_COPIED;
  }
}

function decorate(content) {
  for (const pre of content.querySelectorAll("pre")) {
    const language = pre.dataset.language ?? "Code"; // a name that Python knows, never the answer's own words
    pre.tabIndex = 0;
    pre.setAttribute("role", "group");
    pre.setAttribute("aria-label", language);
    const copy = button({ className: "vnb-code-copy", textContent: "Copy", title: "Copy this code", "aria-label": `Copy this code: ${language}` });
    const head = element("div", { className: "vnb-code-head" }, element("span", { textContent: language }), copy);
    head.dataset.language = language;
    const block = element("div", { className: "vnb-code" }, head);
    pre.replaceWith(block);
    block.append(pre);
  }
  for (const table of content.querySelectorAll("table")) {
    const block = element("div", { className: "vnb-table", tabIndex: 0, role: "group", "aria-label": "Table" });
    table.replaceWith(block);
    block.append(table);
  }
}

// Returns what a screen reader says: the blocks of an answer in lines of their own, without the heads of code blocks.
function spokenText(content) {
  return [...content.children].map((block) => (block.querySelector(":scope > pre") ?? block).innerText).join("\n");
}

// Makes the children of an element equal to those of another, and keeps all that has not changed: an answer that grows
// does not flicker, and selections, focus and scroll positions stay.
function morph(present, wanted) {
  const before = [...present.childNodes];
  const after = [...wanted.childNodes];
  before.slice(after.length).forEach((node) => node.remove());
  after.forEach((node, index) => {
    if (index < before.length) morphNode(before[index], node);
    else present.append(node);
  });
}

function morphNode(old, node) {
  if (old.isEqualNode(node)) return;
  if (old.className === "vnb-code-head" && old.dataset.language === node.dataset?.language) return; // it may say "Copied"
  if (old.nodeType === Node.TEXT_NODE && node.nodeType === Node.TEXT_NODE) {
    if (node.data.startsWith(old.data)) old.appendData(node.data.slice(old.length));
    else old.data = node.data;
  } else if (old.nodeType === Node.ELEMENT_NODE && old.cloneNode(false).isEqualNode(node.cloneNode(false))) morph(old, node);
  else old.replaceWith(node);
}

function updateBlocks(container, html) {
  const template = document.createElement("template");
  template.innerHTML = html;
  for (const node of [...template.content.childNodes]) if (node.nodeType === Node.TEXT_NODE && !node.data.trim()) node.remove();
  decorate(template.content);
  morph(container, template.content);
}

// Copies the code of a block whose button was pressed.
function listenForCopies(container, announce) {
  container.addEventListener("click", async ({ target }) => {
    const copy = target.closest(".vnb-code-copy");
    if (!copy) return;
    copy.textContent = await copyText(copy.closest(".vnb-code").querySelector("pre").textContent.replace(/\n$/, ""));
    announce(copy.textContent);
    setTimeout(() => (copy.textContent = "Copy"), COPIED_TIME);
  });
}
