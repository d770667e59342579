"""Speed and memory as ratios against a plain forward, measured side by side in one process."""
