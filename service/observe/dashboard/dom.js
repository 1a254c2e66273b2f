// Building and changing the page. Names and messages come from outside: always as text, never as markup.

export const byId = (id) => document.getElementById(id);

export function element(name, { className = "", text = "", tone = "", title = "", label = "" } = {}, ...children) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text) made.textContent = text;
  if (tone) made.dataset.tone = tone;
  if (title) made.title = title;
  if (label) made.dataset.label = label;
  made.append(...children.filter((child) => child !== null));
  return made;
}

export const badge = (text, tone) => element("span", { className: "badge", text, tone });

export function button(text, action, { label = "" } = {}) {
  const made = element("button", { text });
  made.type = "button";
  if (label) made.setAttribute("aria-label", label);
  made.addEventListener("click", async () => {
    made.disabled = true;
    try {
      await action();
    } finally {
      made.disabled = false;
    }
  });
  return made;
}

export function setText(node, text) {
  // Unchanged text is left alone, so that screen readers hear of changes only.
  if (node.textContent !== text) node.textContent = text;
}

// Shows one child for each item. A child is made anew only when its item has changed, so that focus and selection stay.
export function showItems(parent, items, keyOf, make) {
  const known = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  let before = null;
  for (const item of items) {
    const key = String(keyOf(item));
    const print = JSON.stringify(item);
    let child = known.get(key);
    known.delete(key);
    if (!child || child.dataset.print !== print) {
      const made = make(item);
      made.dataset.key = key;
      made.dataset.print = print;
      const focused = child?.contains(document.activeElement)
        ? [...child.querySelectorAll("button")].indexOf(document.activeElement)
        : -1;
      if (child) child.replaceWith(made);
      child = made;
      if (focused >= 0 && child.isConnected) child.querySelectorAll("button")[focused]?.focus();
    }
    const place = before ? before.nextElementSibling : parent.firstElementChild;
    if (place !== child) parent.insertBefore(child, place);
    before = child;
  }
  for (const child of known.values()) child.remove();
}
