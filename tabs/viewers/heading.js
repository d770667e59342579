// A panel's title and how to read it. Takes {"title": phrase, "how": phrase or null}.
const { make, mount, phrase, t } = lens;

lens.viewers.heading = ({ element, props, watch }) =>
  mount(element, props, watch, (root, { title, how }) => {
    const read = how && make("p", "", make("b", "", t("how.read")), " ", phrase(how));
    root.replaceChildren(make("h2", "", phrase(title)), ...(how ? [read] : []));
  });
