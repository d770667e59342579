// A panel's title and how to read it. Takes {"title": phrase, which may have a token's "entry", "how":
// phrase or null}.
const { heading, mount } = lens;

lens.viewers.heading = ({ element, props, watch }) =>
  mount(element, props, watch, (root, { title, how }) => root.replaceChildren(heading(title, how)));
