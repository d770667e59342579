// A file for the visitor; draws nothing. Takes {"name", "type", "text", "serial"}: a value with another
// serial is saved by the browser at once, the one that is there when the page opens is not.
const { download } = lens;

lens.viewers.saved = ({ props, watch }) => {
  const value = () => (props.value ? JSON.parse(props.value) : null);
  let last = value()?.serial;
  watch("value", () => {
    const file = value();
    if (!file || file.serial === last) return;
    last = file.serial;
    download(file.name, file.text, file.type);
  });
};
