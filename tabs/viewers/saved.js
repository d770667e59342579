// A file for the visitor; draws nothing. Takes {"name", "type", "text" or "base64" (bytes), "serial"}: a value
// with another serial is saved by the browser at once, the one that is there when the page opens is not.
const { download } = lens;

function contentOf({ base64, text, type }) {
  if (!base64) return text;
  return new Blob([Uint8Array.from(atob(base64), (character) => character.charCodeAt(0))], { type });
}

lens.viewers.saved = ({ props, watch }) => {
  const value = () => (props.value ? JSON.parse(props.value) : null);
  let last = value()?.serial;
  watch("value", () => {
    const file = value();
    if (!file || file.serial === last) return;
    last = file.serial;
    download(file.name, contentOf(file), file.type);
  });
};
