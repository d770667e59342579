// A remark that stays until it is closed. Takes {"text": phrase, "items": [phrase]}; draws nothing
// without a value.
const { closeButton, make, mount, phrase } = lens;

lens.viewers.notice = ({ element, props, watch }) => {
  let closed = null;
  mount(element, props, watch, (root, { text, items }) => {
    if (!text || closed === props.value) return root.replaceChildren();
    const close = closeButton(() => {
      closed = props.value; // drawn again when the width changes
      root.replaceChildren();
    }, "");
    const line = make("div", "notice", make("span", "icon", "▲"), make("span", "text", [text, ...(items ?? [])].map(phrase).join(" ")), close);
    line.setAttribute("role", "status");
    return root.replaceChildren(line);
  });
};
