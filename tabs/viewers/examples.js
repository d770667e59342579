// Prepared prompts to choose from. Takes {"examples": [text], "open": whether a file of them may be
// opened}. Triggers "example" {index}.
const { make, mount, t } = lens;
const LONGEST = 60; // characters of a prompt that the list shows

lens.viewers.examples = ({ element, props, watch, trigger }) =>
  mount(element, props, watch, (root, { examples, open }) => {
    const select = make("select", "");
    const offer = (value, text) => {
      const option = make("option", "", text);
      option.value = value;
      select.append(option);
    };
    offer("", t("bar.examples"));
    examples.forEach((text, index) => offer(index, text.length > LONGEST ? `${text.slice(0, LONGEST)}…` : text));
    if (open) offer("open", t("bar.open_examples"));
    select.setAttribute("aria-label", t("bar.examples"));
    select.addEventListener("change", () => {
      if (select.value === "open") document.querySelector(".lens-examples-file input")?.click();
      else if (select.value) trigger("example", { index: Number(select.value) });
      select.value = "";
    });
    root.replaceChildren(select);
  });
