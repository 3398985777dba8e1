// The list of earlier conversations, which opens below the turns. `open` is called with the id of the chosen one.
function earlierMenu(open) {
  const list = element("ul");
  const summary = element("summary", { textContent: "Earlier conversations" });
  const root = element("details", { className: "vnb-earlier", hidden: true }, summary, list);
  let drawn = "";
  root.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !root.open) return;
    event.stopPropagation();
    root.open = false;
    summary.focus();
  });
  const draw = (conversations = []) => {
    const state = JSON.stringify(conversations);
    if (state === drawn) return; // otherwise a button would lose the keyboard focus
    drawn = state;
    root.hidden = !conversations.length;
    if (root.hidden) root.open = false;
    list.replaceChildren(
      ...conversations.map(({ id, time, title }) => {
        const name = element("bdi", { textContent: title || "(no text)" });
        const date = new Date(time * 1000).toLocaleString("en", { dateStyle: "medium", timeStyle: "short" });
        const choose = () => {
          root.open = false;
          open(id);
        };
        const choice = button({ title: "Show this conversation and continue it" }, choose);
        choice.append(name, element("span", { className: "vnb-earlier-date", textContent: date }));
        return element("li", {}, choice);
      }),
    );
  };
  return { root, draw };
}
