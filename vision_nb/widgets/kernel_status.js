// The line below a panel of cards that says why it does not react: the kernel is busy or gone, or has sent no card.

function kernelStatus({ model, body, purpose, saved }) {
  const node = element("div", { className: "vnb-kernel-status", role: "status" });
  let hasCard = false;
  let askedAt = null; // when a request was sent that the kernel has not answered yet
  let isGone = false;

  const draw = () => {
    body.hidden = !hasCard;
    body.inert = isGone;
    let text = "";
    if (isGone) text = `${KERNEL_GONE} continue. ${saved}`;
    else if (!hasCard) text = `Run this cell to ${purpose}.`;
    else if (askedAt !== null && Date.now() - askedAt >= BUSY_AFTER) text = KERNEL_BUSY;
    setLiveText(node, text);
    body.classList.toggle("vnb-kernel-busy", text === KERNEL_BUSY);
  };
  const gone = () => {
    isGone = true;
    draw();
  };
  const send = (message) => {
    try {
      model.send(message);
    } catch {
      gone(); // the kernel was shut down
    }
  };
  const ask = (message) => {
    askedAt ??= Date.now();
    setTimeout(draw, BUSY_AFTER + 20);
    send(message);
  };
  const answered = () => {
    hasCard = true;
    askedAt = null;
    draw();
  };
  draw();
  return { node, send, ask, answered, isWaiting: () => askedAt !== null || isGone, end: watchKernel(model, gone) };
}
