// Draws the cards of a page of images, and enlarges one of them. Python makes the thumbnails when a page is requested.

function render({ model, el }) {
  let shown = null; // the page on the screen: see _page_message in image_browser.py
  let requested = null; // the number of the page that was asked for
  let openAfter = null; // which card of the requested page to enlarge: 0 or -1
  let current = null; // the enlarged card
  let isDisconnected = false;

  const send = (message) => {
    try {
      model.send(message);
    } catch {
      disconnected(); // the kernel was shut down
    }
  };

  const status = element("span", { role: "status" });
  const previous = button({ textContent: "\u2190 Previous", "aria-label": "Previous page" }, () => goTo(shown.page - 1));
  const next = button({ textContent: "Next \u2192", "aria-label": "Next page" }, () => goTo(shown.page + 1));
  const number = element("input", { type: "number", min: 1, "aria-label": "Page" });
  number.addEventListener("change", () => {
    if (number.value) goTo(Math.min(Math.max(Math.round(number.valueAsNumber), 1), shown.pages) - 1);
  });
  const pageCount = element("span");
  const pager = element("span", { className: "vnb-images-pages" }, previous, number, pageCount, next);
  const pages = element("div", { className: "vnb-images-pages" }, status, pager);
  const grid = element("ul", { className: "vnb-images-grid", role: "list" });
  const remarks = element("div", { className: "vnb-image-facts" });

  const dialog = imageDialog({ onEnlarge: () => send({ action: "enlarge", index: current.index }), onStep: (by) => step(by) });
  const root = element(
    "div",
    { className: "vnb-images", role: "group", "aria-label": "Images", "data-lm-suppress-shortcuts": "true" },
    pages,
    grid,
    remarks,
    dialog.node,
  );

  const setDisabled = (control, isOff) => control.setAttribute("aria-disabled", String(isOff)); // it keeps the focus
  const drawPages = () => {
    const isLoading = requested !== null && requested !== shown?.page;
    grid.setAttribute("aria-busy", String(isLoading));
    if (!shown) return;
    const from = shown.page * shown.page_size + 1;
    const range = `${from.toLocaleString("en")}\u2013${(from + shown.cards.length - 1).toLocaleString("en")} of ${shown.total.toLocaleString("en")} images`;
    const loading = isLoading ? `Loading page ${(requested + 1).toLocaleString("en")} ...` : null;
    setLiveText(status, isDisconnected ? `${KERNEL_GONE} see other pages and to zoom in.` : (loading ?? (shown.pages > 1 ? range : "")));
    pager.hidden = shown.pages < 2;
    pages.hidden = pager.hidden && status.hidden;
    number.max = shown.pages;
    if (!isLoading) number.value = shown.page + 1;
    number.disabled = isDisconnected;
    pageCount.textContent = `of ${shown.pages.toLocaleString("en")}`;
    setDisabled(previous, isDisconnected || shown.page === 0);
    setDisabled(next, isDisconnected || shown.page >= shown.pages - 1);
  };
  const goTo = (page) => {
    if (isDisconnected || page < 0 || page >= shown.pages || page === shown.page) {
      drawPages();
      return;
    }
    requested = page;
    send({ action: "page", page });
    drawPages();
  };

  const cardNode = (card) => {
    const parts = card.name.split(/(?<=[_-])/).flatMap((part) => [part, element("wbr")]); // a long name wraps there
    const name = element("span", { className: "vnb-image-name" }, ...parts);
    const facts = element("span", { className: "vnb-image-facts", textContent: card.facts });
    if (!card.thumbnail) {
      const sign = element("span", { className: "vnb-image-sign", textContent: "\u26a0", "aria-hidden": "true" });
      return element("li", {}, element("div", { className: "vnb-image-card" }, sign, name, facts));
    }
    const image = element("img", { src: card.thumbnail, alt: "", draggable: false }); // the button has the name
    const open = button({ className: "vnb-image-card", title: "Enlarge" }, () => enlarge(card));
    open.setAttribute("aria-label", `${card.name}, ${card.facts}. Enlarge`);
    open.append(image, name, facts);
    return element("li", {}, open);
  };
  const drawCards = () => {
    grid.classList.toggle("vnb-fixed", Boolean(shown.columns));
    if (shown.columns) grid.style.setProperty("--vnb-columns", shown.columns);
    grid.style.setProperty("--vnb-card-width", shown.total <= 3 ? "260px" : "150px");
    grid.replaceChildren(...shown.cards.map(cardNode));
    remarks.replaceChildren(...shown.remarks.map((textContent) => element("div", { textContent })));
    remarks.hidden = !shown.remarks.length;
  };

  const enlarge = (card) => {
    current = card;
    const heading = card.thumbnail ? `${card.name}, ${card.facts}` : card.facts; // an error starts with the name
    dialog.show(card, heading, card.index, shown.total);
  };
  const step = (by) => {
    const card = shown.cards.find(({ index }) => index === current.index + by);
    if (card) enlarge(card);
    else if (!isDisconnected && requested === null) {
      openAfter = by > 0 ? 0 : -1;
      goTo(shown.page + by);
    }
  };

  const receive = (message) => {
    if (message.kind === "enlarged") {
      if (current?.index === message.index && message.image) dialog.enlarge(message.image);
    } else if (requested === null || message.page === requested) {
      shown = message;
      requested = null;
      drawCards();
      drawPages();
      const card = shown.cards.at(openAfter ?? 0);
      if (openAfter !== null && dialog.node.open && card) enlarge(card);
      openAfter = null;
    }
  };
  root.addEventListener("keydown", (event) => {
    event.stopPropagation(); // otherwise Jupyter uses the keys for the selected cell
  });
  passOnSaveKeys(root);

  // The static cards are for readers of the saved notebook: hide them while the kernel works.
  const hidingStyle = element("style", { textContent: `.${model.get("static_class")} { display: none; }` });
  const disconnected = () => {
    isDisconnected = true;
    drawPages();
  };
  const endWatch = watchKernel(model, disconnected);
  el.append(root);
  model.on("msg:custom", receive);
  send({ action: "ready" });
  document.head.append(hidingStyle);
  return () => {
    endWatch();
    hidingStyle.remove();
    dialog.end();
    model.off("msg:custom", receive);
  };
}

export default { render };
