// What survives a reload: kept by the tab, so that tabs do not clash; with `everywhere` by the browser.

export function remember(key, value, everywhere = false) {
  try {
    (everywhere ? localStorage : sessionStorage).setItem(key, JSON.stringify(value));
  } catch {
    // the browser keeps nothing, or has no room: the page works all the same
  }
}

export function remembered(key, everywhere = false) {
  try {
    return JSON.parse((everywhere ? localStorage : sessionStorage).getItem(key));
  } catch {
    return null;
  }
}
