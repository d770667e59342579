lens.viewers.bars = () => {};
