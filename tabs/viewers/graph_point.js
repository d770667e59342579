// What of a graph is pointed at, chosen or shown: an item is {node}, {link} with the node whose links are
// walked through as its pivot, or {root: position} of a triangle.
const { HEAD, hit, keyOf, partsOf } = lens.graph;

const nameOf = (item) => (item?.link ? keyOf(item.link) : item?.node ? item.node.id : item ? `root ${item.root}` : null);

// The item of {node} or {src, dst, kind}, where this graph has it.
function itemOf(scene, data) {
  if (data?.node) {
    const { layer, position } = partsOf(data.node);
    return layer < scene.value.n_layers && scene.shown.includes(position) ? { node: scene.place(data.node) } : null;
  }
  const link = data?.src && scene.links.find(({ dst, kind, src }) => src.id === data.src && dst.id === data.dst && kind === data.kind);
  return link ? { link, pivot: link.dst } : null;
}

const dataOf = ({ link, node }) => (node ? { node: node.id } : { src: link.src.id, dst: link.dst.id, kind: link.kind });
const centre = ({ link, node }) => (node ? [node.x, node.y] : link.points[Math.floor(link.points.length / 2)]);

// Where the columns begin on the screen.
function originOf({ face, scene }) {
  const { left, top } = face.picture.getBoundingClientRect();
  return [left + scene.columns.gutter, top + HEAD];
}

// The place of an item on the screen.
function boxAt(item, { face, moves, scene }) {
  const [left, top] = originOf({ face, scene });
  const { k, x, y } = moves.view;
  if (item.root !== undefined) {
    const middle = left + x + k * scene.columns.xOf(item.root);
    return { left: middle - 8, right: middle + 8, top: top - HEAD + 12, bottom: top - HEAD + 30 };
  }
  const [wx, wy] = item.at ?? centre(item);
  const r = k * (item.node?.r ?? 2) + 6;
  const [px, py] = [left + x + k * wx, top + y + k * wy];
  return { left: px - r, right: px + r, top: py - r, bottom: py + r };
}

// The item at a point of the screen; a finger needs less aim.
function itemAt({ clientX, clientY }, { face, moves, scene }, touch) {
  const [left, top] = originOf({ face, scene });
  const [px, py] = [clientX - left, clientY - top];
  if (px < 0 || px > scene.columns.room) return null;
  const place = moves.toScene([px, py]);
  if (py >= 0 && py <= face.height) {
    const found = hit(scene, place, (touch ? 16 : 6) / moves.view.k);
    return found?.link ? { ...found, pivot: found.link.dst, at: place } : found;
  }
  const column = scene.shown[Math.floor(place[0] / scene.columns.pitch)];
  if (column === undefined) return null;
  const { prediction, roots } = scene.value;
  if (py < 0) return prediction && partsOf(roots[0]).position === column ? null : { root: column };
  return { node: scene.place(`X0_${column}`) };
}

Object.assign(lens.graph, { boxAt, centre, dataOf, itemAt, itemOf, nameOf, originOf });
